// Read memos, trying each three times: node retry.js HOST:PORT TOPIC CLIENT_ID DEAD_TOPIC

const { createHash } = require('crypto');
const { setTimeout: sleep } = require('timers/promises');
const Gearman = require('node-gearman');

const TRIES = 3;
const BACKOFF = 500; // ms before the second try, at most; twice as long before the third

function textOf(payload) {
  return new TextDecoder('utf-8', { fatal: true }).decode(payload);
}

function readMemo(payload) {
  if (!payload.length) throw new Error('not a memo');
  console.log(textOf(payload));
}

const [server, topic, clientId, deadTopic] = process.argv.slice(2);
const [host, port] = server.split(':');
const gearman = new Gearman(host, Number(port));
// Without it each message takes 44 ms.
gearman.on('connect', () => gearman.socket.setNoDelay(true));
// It does not connect again by itself.
gearman.on('close', () => process.exit(1));

// It waits while no daemon is there.
function ask(name, request) {
  return new Promise((resolve, reject) => {
    const job = gearman.submitJob(name, JSON.stringify({ ...request, always_report: true }));
    job.on('data', (data) => {
      const answer = JSON.parse(data);
      if (answer.error) reject(new Error(answer.message));
      else resolve(answer);
    });
    job.on('error', reject);
  });
}

function deadLetter(payload, error) {
  const letter = {
    topic,
    client_id: clientId,
    attempts: TRIES,
    error: String(error), // its class and text
    time: Date.now() / 1000,
  };
  try {
    return { ...letter, payload: textOf(payload) };
  } catch {
    return { ...letter, payload: payload.toString('base64'), encoding: 'base64' };
  }
}

async function handle(queue, payload, job) {
  let error;
  for (let attempt = 1; attempt <= TRIES; attempt++) {
    try {
      await readMemo(payload);
      job.end();
      return;
    } catch (raised) {
      error = raised;
      console.error(`try ${attempt}: ${error.message}`);
    }
    // The job is still held. A half of the pause is left to chance.
    if (attempt < TRIES) await sleep(BACKOFF * 2 ** (attempt - 1) * (1 + Math.random()) / 2);
  }
  const name = createHash('sha1').update(`${queue} ${job.handle} `).update(payload).digest('hex');
  try {
    const report = await ask('fanout', {
      topic: deadTopic,
      payload: deadLetter(payload, error),
      background: true,
      // Should this program die before it fails the job, the next one's letter joins this.
      unique: `dead-${name}`,
    });
    console.error(`dead letters queued: ${report.queued}`);
  } catch (refusal) {
    console.error(`no dead letter: ${refusal.message}`);
  }
  job.error();
}

ask('register_fanout_subscriber', { topic, client_id: clientId }).then(({ queue }) => {
  // An empty payload is undefined.
  gearman.registerWorker(queue, (payload, job) => handle(queue, payload ?? Buffer.alloc(0), job));
});
