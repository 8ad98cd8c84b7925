// A client of the package knx for the tests: as knxultimate.js.
const knx = require('knx');
const dptlib = require('knx/src/dptlib');
const types = JSON.parse(process.env.TYPES); // group address to datapoint type
const [host, port] = process.argv.slice(2);
const say = (o) => process.stdout.write(JSON.stringify(o) + '\n');

const connection = new knx.Connection({
  ipAddr: host, ipPort: Number(port), interface: 'knx0', forceTunneling: true, loglevel: 'error',
  handlers: {
    connected: () => say({ connected: true }),
    error: (status) => say({ error: String(status) }),
    event: (event, source, ga, value) => {
      if (event !== 'GroupValue_Write' || !types[ga]) return;
      say({ ga, raw: value.toString('hex'), value: dptlib.fromBuffer(value, dptlib.resolve(types[ga])) });
    },
  },
});

require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const [ga, dpt, ...value] = line.split(' ');
  connection.write(ga, JSON.parse(value.join(' ')), dpt);
}).on('close', () => { connection.Disconnect(() => process.exit(0)); setTimeout(() => process.exit(0), 3000); });
