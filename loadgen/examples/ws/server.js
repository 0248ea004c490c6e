// Rooms on plain WebSocket: {"join":"room"} is answered {"joined":"room"}, {"room":"room","data":"text"} goes to everybody else
// there. PORT=0 takes a free port. LIE=drops leaves out one delivery in a thousand, so that one can see it caught; LIE=doubles
// sends it twice.
'use strict';

const { WebSocketServer } = require('ws');

const EVERY = 1000;
const lie = process.env.LIE ?? '';
const rooms = new Map();
let deliveries = 0;

function deliver(socket, text) {
  deliveries += 1;
  const turn = deliveries % EVERY === 0;
  if (turn && lie === 'drops') return;
  socket.send(text);
  if (turn && lie === 'doubles') socket.send(text);
}

const server = new WebSocketServer({ host: '127.0.0.1', port: Number(process.env.PORT ?? 9001), perMessageDeflate: false });

server.on('connection', (socket) => {
  const joined = new Set();
  socket.on('message', (bytes) => {
    const said = JSON.parse(bytes);
    if (said.join !== undefined) {
      if (!rooms.has(said.join)) rooms.set(said.join, new Set());
      rooms.get(said.join).add(socket);
      joined.add(said.join);
      socket.send(JSON.stringify({ joined: said.join }));
      return;
    }
    const text = JSON.stringify(said);
    for (const member of rooms.get(said.room) ?? []) {
      if (member !== socket) deliver(member, text);
    }
  });
  socket.on('close', () => {
    for (const room of joined) rooms.get(room).delete(socket);
  });
});

server.on('listening', () => console.log(`listens at 127.0.0.1:${server.address().port}`));
