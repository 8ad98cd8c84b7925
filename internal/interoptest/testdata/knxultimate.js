// A client of knxultimate for the tests: it prints what it hears as JSON lines and
// writes what it reads, "GA DPT JSON-VALUE" a line. Arguments: host, port.
const { KNXClient, dptlib } = require('knxultimate');
const types = JSON.parse(process.env.TYPES); // group address to datapoint type
const [host, port] = process.argv.slice(2);
const say = (o) => process.stdout.write(JSON.stringify(o) + '\n');

const client = new KNXClient({
  hostProtocol: 'TunnelUDP', ipAddr: host, ipPort: port, interface: 'knx0', localIPAddress: host,
  isSecureKNXEnabled: false, suppress_ack_ldatareq: false, loglevel: 'error',
});
client.on('connected', () => say({ connected: true }));
client.on('error', (e) => say({ error: String(e) }));
client.on('indication', (packet, echoed) => {
  if (echoed) return;
  const cemi = packet.cEMIMessage;
  const ga = cemi.dstAddress.toString();
  const npdu = cemi.npdu;
  if (!npdu.isGroupWrite || !types[ga]) return;
  const value = dptlib.fromBuffer(npdu.dataValue, dptlib.resolve(types[ga]));
  say({ ga, raw: npdu.dataValue.toString('hex'), value });
});
client.Connect();

require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const [ga, dpt, ...value] = line.split(' ');
  client.write(ga, JSON.parse(value.join(' ')), dpt);
}).on('close', () => { client.Disconnect().finally(() => process.exit(0)); setTimeout(() => process.exit(0), 3000); });
