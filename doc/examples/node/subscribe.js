// Read memos as they come: node subscribe.js HOST:PORT TOPIC CLIENT_ID [START]

const Gearman = require('node-gearman');

function readMemo(memo) {
  if (memo === '') throw new Error('an empty memo');
  console.log(memo);
}

const [server, topic, clientId, start] = process.argv.slice(2);
const [host, port] = server.split(':');
const gearman = new Gearman(host, Number(port));
// Without it each message takes 44 ms.
gearman.on('connect', () => gearman.socket.setNoDelay(true));
// It does not connect again by itself.
gearman.on('close', () => process.exit(1));

const registration = gearman.submitJob('register_fanout_subscriber', JSON.stringify({
  topic,
  client_id: clientId,
  start, // 'first' or 'last': see the page on journals
  always_report: true,
}));
registration.on('data', (data) => {
  const answer = JSON.parse(data);
  if (answer.error) throw new Error(answer.message);
  gearman.registerWorker(answer.queue, (payload, job) => {
    // One that throws ends the program, and one that calls neither keeps its copy for ever.
    try {
      readMemo((payload ?? '').toString()); // an empty payload is undefined
      job.end();
    } catch (error) {
      console.error(error.message);
      job.error();
    }
  });
});
