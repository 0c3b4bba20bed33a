// The chat of the landing page: frames of /v1/chat in, text out. Nothing that the person typed is lost: a message
// stays in the outbox until the server has accepted it, and is sent again with the same id after a reload or a
// broken connection.
(() => {
  'use strict';
  const root = document.getElementById('chat');
  const log = document.getElementById('chat-log');
  const form = document.getElementById('chat-form');
  const field = document.getElementById('chat-text');
  const typing = document.getElementById('chat-typing');
  const notice = document.getElementById('chat-notice');
  const pill = document.getElementById('chat-state');
  const progress = document.getElementById('chat-progress');
  const ownerLine = document.getElementById('chat-owner');
  const botLine = ownerLine.textContent;
  const MEMORY = 'aurum.chat';
  const PING_MILLISECONDS = 25000;
  const BACK_OFF_MAX_MILLISECONDS = 20000;

  // Survives a reload; with measurement refused it survives only as long as the tab.
  const stores = () => {
    const choice = window.aurum ? window.aurum.consent() : {};
    const refused = choice.gpc || choice.analytics === 'denied';
    return refused ? [sessionStorage, localStorage] : [localStorage, sessionStorage];
  };
  const recall = () => {
    try {
      return JSON.parse(stores()[0].getItem(MEMORY) || stores()[1].getItem(MEMORY)) || {};
    } catch {
      return {};
    }
  };
  const remember = () => {
    try {
      const [right, wrong] = stores();
      right.setItem(MEMORY, JSON.stringify({ token: memory.token, outbox: memory.outbox }));
      wrong.removeItem(MEMORY);
    } catch { /* storage blocked: the talk lives in this page only */ }
  };
  const memory = Object.assign({ token: null, outbox: [] }, recall());

  let socket = null;
  let welcomed = false;
  let attempts = 0;
  let lastSeq = 0;
  let retryTimer = 0;
  let pingTimer = 0;
  let pongTimer = 0;
  let typingTimer = 0;
  let holdUntil = 0;
  let ended = false;
  let refused = false;
  let anchor = null;              // a result card whose top stays in view until the person answers
  let early = new Map();          // visitor messages of a resumed talk, by the seq they follow
  const mine = new Map();         // clientMessageID without dashes -> its bubble

  const plain = (id) => String(id || '').replace(/-/g, '').toLowerCase();
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  };
  const newID = () => {
    const bytes = crypto.getRandomValues(new Uint8Array(16));
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5');
  };

  // ---- what is on the screen

  const state = (name, text) => {
    if (pill.dataset.state === name && pill.textContent === text) return;
    pill.dataset.state = name;
    pill.textContent = text;
  };
  const tell = (text) => {
    notice.textContent = text || '';
    notice.hidden = !text;
  };
  const jump = document.getElementById('chat-jump');
  const showJump = () => {
    jump.hidden = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  };
  const atBottom = () => log.scrollHeight - log.scrollTop - log.clientHeight < 120;
  // What the server says goes above messages that it has not accepted yet.
  const place = (item, follow = atBottom()) => {
    const unsent = item.dataset.delivery === 'sending' ? null : log.querySelector('[data-delivery="sending"]');
    log.insertBefore(item, unsent);
    if (!follow) {
      showJump();
      return;
    }
    log.scrollTop = log.scrollHeight;
    if (anchor) log.scrollTop = Math.min(log.scrollTop, anchor.offsetTop - log.offsetTop - 14);
    showJump();
  };
  const dots = (on) => {
    clearTimeout(typingTimer);
    typing.hidden = !on;
    if (on) {
      typingTimer = setTimeout(() => dots(false), 15000);
      if (atBottom()) log.scrollTop = log.scrollHeight;
    }
  };
  const clearReplies = () => log.querySelectorAll('.replies').forEach((row) => row.remove());
  const speaker = (text) => element('span', 'sr', text);

  function showMine(id, text, delivery) {
    const known = mine.get(plain(id));
    if (known) return known;
    const bubble = element('li', 'msg me');
    bubble.append(speaker('You: '), text);
    bubble.dataset.delivery = delivery;
    mine.set(plain(id), bubble);
    anchor = null;
    place(bubble, true);
    return bubble;
  }
  function mark(id, delivery, note) {
    const bubble = mine.get(plain(id));
    if (!bubble) return;
    bubble.dataset.delivery = delivery;
    const old = bubble.nextElementSibling;
    if (old && old.classList.contains('delivery')) old.remove();
    if (note) bubble.after(element('li', 'delivery', note));
  }
  function showMessage(frame) {
    dots(false);
    clearReplies();
    const consent = /consent/i.test(frame.slotAsked || '');
    const bubble = element('li', `msg ${frame.role === 'human' ? 'human' : 'bot'}${consent ? ' consent' : ''}`);
    bubble.append(speaker(frame.role === 'human' ? 'Person: ' : 'Advisor: '), frame.text);
    place(bubble);
    if (!frame.quickReplies || !frame.quickReplies.length) return;
    const row = element('li', 'replies');
    row.setAttribute('role', 'group');
    row.setAttribute('aria-label', 'Suggested answers');
    for (const reply of frame.quickReplies) {
      const button = element('button', '', reply.label);
      button.type = 'button';
      button.dataset.reply = reply.id;
      button.addEventListener('click', () => {
        say({ quickReplyID: reply.id, label: reply.label });
        field.focus({ preventScroll: true });
      });
      row.append(button);
    }
    place(row, true);
  }
  function showRange(figure) {
    const bar = element('div', 'range');
    bar.setAttribute('aria-hidden', 'true');
    const top = figure.high * 1.08;
    const share = (value) => `${(value / top * 100).toFixed(2)}%`;
    const span = element('span');
    span.style.setProperty('--from', share(figure.low));
    span.style.setProperty('--span', share(figure.high - figure.low));
    bar.append(span);
    if (Number.isFinite(figure.likely)) {
      const likely = element('i');
      likely.style.setProperty('--at', share(figure.likely));
      bar.append(likely);
    }
    return bar;
  }
  function showResult(frame) {
    dots(false);
    const card = element('li', 'result');
    card.append(element('h3', '', frame.title || 'Your estimate'));
    const list = element('dl');
    for (const figure of frame.figures || []) {
      const row = element('div');
      const value = element('dd', '', figure.display);
      row.append(element('dt', '', figure.label || figure.name), value);
      if (Number.isFinite(figure.low) && figure.high > figure.low && figure.low >= 0) value.append(showRange(figure));
      if (figure.why || figure.source) {
        const why = element('details');
        why.append(element('summary', '', 'How we know'));
        if (figure.why) why.append(element('p', '', figure.why));
        if (figure.source) why.append(element('p', 'muted', `Source: ${figure.source}`));
        value.append(why);
      }
      list.append(row);
    }
    card.append(list);
    if (frame.notes && frame.notes.length) {
      const notes = element('ul', 'notes');
      frame.notes.forEach((note) => notes.append(element('li', '', note)));
      card.append(notes);
    }
    anchor = card;
    place(card, true);
  }
  function showProgress(done, total) {
    progress.hidden = !(total > 0);
    progress.setAttribute('aria-valuemax', total);
    progress.setAttribute('aria-valuenow', done);
    progress.setAttribute('aria-valuetext', `${done} of ${total} questions answered`);
    progress.firstElementChild.style.setProperty('--done', total > 0 ? done / total : 0);
  }
  function showOwner(frame) {
    ended = frame.owner === 'closed';
    root.dataset.owner = frame.owner;
    if (frame.owner === 'human') ownerLine.textContent = `${frame.displayName || 'A person'} is answering now`;
    else ownerLine.textContent = botLine;
    if (frame.owner === 'unattended') place(element('li', 'msg note', 'A person has been asked to join.'));
    if (!ended) return;
    clearReplies();
    place(element('li', 'msg note', 'This conversation has ended. “Start over” begins a new one.'));
    open(false);
  }
  function open(yes) {
    field.disabled = form.querySelector('button').disabled = !yes;
    field.placeholder = yes ? 'Type your answer' : 'This conversation has ended';
  }
  function wipe() {
    log.replaceChildren();
    mine.clear();
    early = new Map();
    lastSeq = 0;
    ended = false;
    anchor = null;
    open(true);
    ownerLine.textContent = botLine;
    showProgress(0, 0);
    dots(false);
    tell('');
  }

  // ---- the outbox

  function say(content) {
    if (ended) return;
    const item = { clientMessageID: newID(), ...content };
    memory.outbox.push(item);
    remember();
    clearReplies();
    showMine(item.clientMessageID, item.label || item.text, 'sending');
    transmit(item);
  }
  function transmit(item) {
    if (!welcomed || Date.now() < holdUntil) return;
    const { clientMessageID, text, quickReplyID } = item;
    const content = quickReplyID ? { quickReplyID } : { text };
    socket.send(JSON.stringify({ v: 1, type: 'message', clientMessageID, ...content }));
    setTimeout(() => {
      const waiting = memory.outbox.includes(item) && welcomed && Date.now() >= holdUntil;
      if (waiting) dots(true);
    }, 400);
  }
  function drop(id) {
    const index = memory.outbox.findIndex((item) => plain(item.clientMessageID) === plain(id));
    const found = index < 0 ? null : memory.outbox.splice(index, 1)[0];
    remember();
    return found;
  }
  const resend = () => memory.outbox.forEach(transmit);

  // ---- frames

  const placeEarly = (upTo) => {
    for (const seq of Array.from(early.keys()).sort((a, b) => a - b)) {
      if (seq > upTo) break;
      early.get(seq).forEach((words) => showMine(words.clientMessageID, words.text, 'sent'));
      early.delete(seq);
    }
  };
  const frames = {
    welcome(frame) {
      if (!frame.resumed && (lastSeq || log.childElementCount)) wipe();
      memory.token = frame.resumeToken;
      for (const words of frame.visitorMessages || []) {
        drop(words.clientMessageID);
        mark(words.clientMessageID, 'sent');
        if (mine.has(plain(words.clientMessageID))) continue;
        early.set(words.afterSeq, (early.get(words.afterSeq) || []).concat(words));
      }
      remember();
      placeEarly(lastSeq);
      if (frame.limits && frame.limits.messageCharactersMax) field.maxLength = frame.limits.messageCharactersMax;
      welcomed = true;
      attempts = 0;
      state('live', 'Online');
      tell('');
      memory.outbox.forEach((item) => showMine(item.clientMessageID, item.label || item.text, 'sending'));
      resend();
    },
    accepted(frame) {
      drop(frame.clientMessageID);
      mark(frame.clientMessageID, 'sent');
    },
    message: showMessage,
    result: showResult,
    owner: showOwner,
    progress: (frame) => showProgress(frame.done, frame.total),
    typing: (frame) => dots(frame.on),
    pong: () => clearTimeout(pongTimer),
    error(frame) {
      dots(false);
      const wait = frame.retryAfterMs || 2000;
      if (frame.code === 'rate_limited' || frame.code === 'unavailable') {
        holdUntil = Date.now() + wait;
        mark(frame.clientMessageID, 'sending', 'Waiting a moment, then sending');
        setTimeout(() => {
          memory.outbox.forEach((item) => mark(item.clientMessageID, 'sending'));
          if (welcomed) resend();
        }, wait + 20);
      } else if (frame.code === 'too_large') {
        const item = drop(frame.clientMessageID);
        mark(frame.clientMessageID, 'failed', 'Too long to send');
        if (item && item.text && !field.value) field.value = item.text;
        tell('That message is too long. Please shorten it and send it again.');
      } else if (frame.code === 'token_expired' || frame.code === 'unknown_conversation') {
        memory.token = null;
        remember();
        wipe();
        tell('The earlier conversation has expired, so a new one has begun.');
      } else if (frame.code === 'closed') {
        drop(frame.clientMessageID);
        if (!ended) showOwner({ owner: 'closed' });
      } else if (frame.code === 'origin_refused') {
        refused = true;
        tell('The advisor is not set up for this address.');
      } else {
        if (frame.clientMessageID) {
          drop(frame.clientMessageID);
          mark(frame.clientMessageID, 'failed', 'Not delivered');
        }
        tell(frame.message || 'Something went wrong. Please try that again.');
      }
      if (frame.fatal) socket.close(1000);
    },
  };
  function receive(text) {
    let frame;
    try {
      frame = JSON.parse(text);
    } catch {
      return;
    }
    if (frame.seq) {
      if (frame.seq <= lastSeq) return;
      lastSeq = frame.seq;
    }
    if (Object.hasOwn(frames, frame.type)) frames[frame.type](frame);
    if (frame.seq) placeEarly(frame.seq);
  }

  // ---- the connection

  function hello() {
    const tracker = window.aurum || {};
    const touch = tracker.touch || {};
    const utm = {};
    for (const name of ['source', 'medium', 'campaign', 'term', 'content']) if (touch[name]) utm[name] = touch[name];
    const choice = tracker.consent ? tracker.consent() : {};
    // Another tab may have resumed the same talk since: its token is the newest.
    memory.token = recall().token || memory.token;
    return {
      v: 1, type: 'hello', visitorID: tracker.anonymousID, traceID: tracker.traceID, page: location.href.slice(0, 2000),
      referrer: (touch.referrer || document.referrer || '').slice(0, 2000) || undefined, clickID: touch.clickID,
      utm: Object.keys(utm).length ? utm : undefined, language: 'en',
      consentState: choice.gpc ? 'denied' : choice.analytics || 'unknown',
      resumeToken: memory.token || undefined, lastSeq: memory.token && lastSeq ? lastSeq : undefined,
    };
  }
  function connect() {
    clearTimeout(retryTimer);
    if (socket || refused) return;
    const address = new URL('/v1/chat', location.href);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    address.searchParams.set('site', root.dataset.site);
    const opened = new WebSocket(address);
    socket = opened;
    opened.onopen = () => {
      opened.send(JSON.stringify(hello()));
      pingTimer = setInterval(ping, PING_MILLISECONDS);
    };
    opened.onmessage = (event) => receive(event.data);
    opened.onclose = (event) => {
      if (socket === opened) lost(event.code);
    };
  }
  function ping() {
    clearTimeout(pongTimer);
    socket.send(JSON.stringify({ v: 1, type: 'ping', nonce: newID() }));
    const asked = socket;
    pongTimer = setTimeout(() => {
      if (socket !== asked) return;
      asked.close();
      lost(1006);
    }, 10000);
  }
  // 1008: the server refused what we sent, so trying the same again would not help. Everything else passes.
  function lost(code) {
    clearInterval(pingTimer);
    clearTimeout(pongTimer);
    socket = null;
    welcomed = false;
    dots(false);
    memory.outbox.forEach((item) => mark(item.clientMessageID, 'sending', 'Will be sent when the connection is back'));
    if (code === 1008 || refused) {
      state('down', 'Offline');
      if (notice.hidden) tell('The connection was closed. Reload the page to continue; nothing is lost.');
      return;
    }
    attempts += 1;
    state(attempts > 4 ? 'down' : 'waiting', attempts > 4 ? 'Offline' : 'Reconnecting');
    if (attempts > 2) tell('We cannot reach the advisor just now. We keep trying, and keep what you write.');
    const delay = Math.min(500 * 2 ** (attempts - 1), BACK_OFF_MAX_MILLISECONDS);
    retryTimer = setTimeout(connect, delay / 2 + Math.random() * delay / 2);
  }
  function hangUp() {
    const old = socket;
    socket = null;
    welcomed = false;
    clearInterval(pingTimer);
    clearTimeout(pongTimer);
    if (!old) return;
    if (old.readyState === WebSocket.OPEN) old.send(JSON.stringify({ v: 1, type: 'bye' }));
    old.close(1000);
  }

  // ---- the person

  const grow = () => {
    field.style.height = 'auto';
    field.style.height = `${Math.min(field.scrollHeight + 2, 140)}px`;
  };
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    const text = field.value.trim();
    if (!text) return;
    tell('');
    field.value = '';
    grow();
    say({ text });
    field.focus({ preventScroll: true });
  });
  field.addEventListener('input', grow);
  field.addEventListener('keydown', (event) => {
    if (event.key !== 'Enter' || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  log.addEventListener('scroll', showJump, { passive: true });
  jump.addEventListener('click', () => {
    log.scrollTo({ top: log.scrollHeight });
    field.focus({ preventScroll: true });
  });
  document.getElementById('chat-restart').addEventListener('click', () => {
    hangUp();
    memory.token = null;
    memory.outbox = [];
    remember();
    wipe();
    state('connecting', 'Connecting');
    connect();
    field.focus({ preventScroll: true });
  });
  window.addEventListener('online', connect);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden && !socket) connect();
  });
  connect();
})();
