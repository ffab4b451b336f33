// Read what a topic's journal has: node read.js HOST:PORT TOPIC FILE [WAIT]
// FILE keeps how far it has come. It ends when nothing has come for WAIT seconds, at most 300.

const fs = require('fs');
const Gearman = require('node-gearman');

function readMemo(sequence, memo) {
  console.log(`${sequence} ${memo}`);
}

const [server, topic, file, wait = '0'] = process.argv.slice(2);
const [host, port] = server.split(':');
const gearman = new Gearman(host, Number(port));
// It does not connect again by itself.
gearman.on('close', () => process.exit(1));

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

async function catchUp() {
  const place = fs.existsSync(file) ? JSON.parse(fs.readFileSync(file)) : { after: 0 };
  let answer;
  do {
    answer = await ask('fanout_read', { ...place, topic, wait: Number(wait) });
    for (const sign of ['trimmed', 'gap', 'reset']) {
      if (answer[sign]) console.error(`${sign} after ${place.after}`);
    }
    if (answer.trimmed || answer.reset) place.after = answer.first - 1;
    for (const { sequence, payload, encoding } of answer.messages) {
      readMemo(sequence, encoding ? Buffer.from(payload, encoding) : payload);
      place.after = sequence;
    }
    place.journal = answer.journal;
    // Should it die before this, it reads these memos again.
    fs.writeFileSync(`${file}.new`, JSON.stringify(place));
    fs.renameSync(`${file}.new`, file);
  } while (answer.messages.length);
}

catchUp().then(() => process.exit(0));
