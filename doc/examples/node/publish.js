// Publish a memo: node publish.js HOST:PORT TOPIC TEXT

const Gearman = require('node-gearman');

const [server, topic, text] = process.argv.slice(2);
const [host, port] = server.split(':');
const gearman = new Gearman(host, Number(port));

const job = gearman.submitJob('fanout', JSON.stringify({
  topic,
  payload: text,
  timeout: 5,
  always_report: true, // or the client hides the report of a failure
}));
job.setTimeout(10_000, () => {
  throw new Error('no answer');
});
job.on('data', (data) => {
  const report = JSON.parse(data);
  if (report.error) throw new Error(report.message);
  for (const [clientId, reason] of Object.entries(report.failed)) {
    console.log(`${clientId} did not get it: ${reason}`);
  }
  console.log(`${report.delivered} of ${report.subscribers} have read it`);
});
job.on('end', () => gearman.close());
