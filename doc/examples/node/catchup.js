// Print what a topic's journal has after a message: node catchup.js HOST:PORT TOPIC SEQUENCE

const Gearman = require('node-gearman');

const [server, topic, after] = process.argv.slice(2);
const [host, port] = server.split(':');
const gearman = new Gearman(host, Number(port));

function read(place) {
  const request = { topic, always_report: true, ...place };
  const job = gearman.submitJob('fanout_read', JSON.stringify(request));
  let answer = '';
  job.setTimeout(10_000, () => {
    throw new Error('no answer');
  });
  job.on('data', (data) => {
    answer += data;
  });
  job.on('end', () => {
    const { error, message, messages, journal, last } = JSON.parse(answer);
    if (error) throw new Error(message);
    for (const { sequence, payload, encoding } of messages) {
      const bytes = Buffer.from(payload, encoding ?? 'utf8');
      process.stdout.write(`${sequence} ${bytes}\n`);
      // Keep both: the number means nothing in another journal.
      place = { after: sequence, journal };
    }
    if (messages.length && place.after < last) read(place);
    else gearman.close();
  });
}

read({ after: Number(after) });
