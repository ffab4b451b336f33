// Publish a memo once, however often it is tried: node post.js HOST:PORT TOPIC TEXT ID

const Gearman = require('node-gearman');

const TRIES = 3;

const [server, topic, text, id] = process.argv.slice(2);
const [host, port] = server.split(':');
const request = JSON.stringify({
  topic,
  payload: text,
  id,
  background: true,
  always_report: true, // or the client hides the report of a failure
});

// Each on a connection of its own: one that was lost, it does not make again.
function publish() {
  const gearman = new Gearman(host, Number(port));
  return new Promise((resolve, reject) => {
    gearman.on('error', reject);
    gearman.on('close', () => reject(new Error('the connection was lost')));
    const job = gearman.submitJob('fanout', request);
    job.setTimeout(10_000, () => reject(new Error('no answer')));
    job.on('data', (data) => resolve(JSON.parse(data)));
    job.on('error', reject);
  }).finally(() => gearman.close());
}

async function post() {
  for (let attempt = 1; ; attempt++) {
    try {
      return await publish();
    } catch (error) {
      if (attempt === TRIES) throw error;
      console.error(`try ${attempt}: ${error.message}`);
    }
  }
}

post().then((report) => {
  if (report.error) throw new Error(report.message);
  if (!report.sequence) throw new Error('the topic has no journal');
  const before = report.duplicate ? ', published before' : '';
  console.log(`message ${report.sequence}, queued for ${report.queued}${before}`);
});
