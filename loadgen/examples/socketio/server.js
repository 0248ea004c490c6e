// Rooms on Socket.IO: `join` is acknowledged, `publish` goes to everybody else in the room as `message`. PORT=0 takes a free
// port. LIE=drops leaves out one message in a hundred for one member, so that one can see it caught.
'use strict';

const { createServer } = require('node:http');
const { Server } = require('socket.io');

const EVERY = 100;
const lie = process.env.LIE ?? '';
let messages = 0;

const http = createServer();
const io = new Server(http, { transports: ['websocket'], perMessageDeflate: false });

io.on('connection', (socket) => {
  socket.on('join', (room, joined) => {
    socket.join(room);
    joined();
  });
  socket.on('publish', (room, data) => {
    messages += 1;
    let hearers = socket.to(room);
    if (lie === 'drops' && messages % EVERY === 0) {
      const [left] = [...io.sockets.adapter.rooms.get(room)].filter((id) => id !== socket.id);
      hearers = hearers.except(left);
    }
    hearers.emit('message', data);
  });
});

http.listen(Number(process.env.PORT ?? 9002), '127.0.0.1', () => {
  console.log(`listens at 127.0.0.1:${http.address().port}`);
});
