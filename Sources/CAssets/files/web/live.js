// Live events: the tail's socket, newest on top, at most 500 rows. After a lost connection it goes on where it was.
(() => {
  'use strict';
  const { $, element, answer, refuse, count, plural, remember, money } = window.aurumQuestions;
  const ROWS_MAX = 500;
  const SILENCE_MILLISECONDS = 20000;
  const BACK_OFF_MAX_MILLISECONDS = 15000;
  const WAITING = $('waiting').textContent;
  const NOT_LISTENING = 'Nothing is listened to: correct the condition, then press Filter.';
  let socket = null;
  let position = null;            // everything up to here was seen
  let attempts = 0;
  let retry = 0;
  let isPaused = false;
  let held = [];                  // what came during a pause, oldest first
  let ready = [];                 // what is shown with the next frame of the screen, oldest first
  let missed = 0;
  let wanted = new URLSearchParams();

  // ---- rows

  const clock = (text) => new Date(text).toLocaleTimeString('en-US', {
    hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false,
  });
  const listed = (props) => Object.entries(props || {}).slice(0, 3)
    .map(([key, value]) => `${key}: ${JSON.stringify(value)}`).join(', ');
  const what = (event) => event.title || event.url || event.screen || listed(event.props);
  function row(event) {
    const line = element('li');
    const whole = element('details');
    const head = element('summary');
    const time = element('time', '', clock(event.received_at || event.ts));
    time.dateTime = event.received_at || event.ts;
    const kind = element('span', 'state', event.type);
    const text = element('span', 'what');
    if (event.name && event.name !== event.type) text.append(element('b', '', event.name), ' ');
    if (event.value !== undefined) {
      const worth = event.currency ? money(event.value, event.currency) : String(event.value);
      text.append(element('span', 'worth', worth), ' ');
    }
    text.append(what(event) || '');
    const who = element('span', 'who', event.user_id || event.anonymous_id || event.device_id || '');
    const from = element('span', 'who', event.channel || '');
    head.append(time, kind, text, who, from);
    if (event.outcome && event.outcome !== 'stored') head.append(element('span', 'badge', event.outcome));
    whole.append(head);
    whole.addEventListener('toggle', () => {
      if (!whole.open || whole.querySelector('pre')) return;
      const json = element('pre', 'json', JSON.stringify(event, null, 2));
      json.tabIndex = 0;
      json.setAttribute('aria-label', 'The whole event as JSON');
      whole.append(json);
    });
    line.append(whole);
    return line;
  }
  function gap(notice) {
    const line = element('li', 'gap');
    const number = `${notice.at_most ? 'up to ' : ''}${plural(notice.skipped, 'event', 'events')}`;
    const text = element('span', '', `${number} left out: they came faster than this page takes them.`);
    line.append(text);
    if (!notice.from) return line;
    const fetchIt = element('button', 'ghost', 'Fetch them');
    fetchIt.type = 'button';
    fetchIt.addEventListener('click', () => {
      fetchIt.disabled = true;
      // What is fetched must not run off the end of the page while one reads.
      if (!isPaused) pause(true);
      fill(line, text, notice);
    });
    line.append(fetchIt);
    return line;
  }
  function paint() {
    const list = $('events');
    const rows = ready.slice(-ROWS_MAX).reverse().map((item) => (item.event ? row(item.event) : gap(item)));
    ready = [];
    list.prepend(...rows);
    trim();
  }
  function trim() {
    const list = $('events');
    while (list.childElementCount > ROWS_MAX) list.lastElementChild.remove();
    const shown = list.childElementCount;
    const isDown = $('live-state').dataset.state === 'down';
    $('waiting').hidden = shown > 0;
    $('waiting').textContent = isDown ? NOT_LISTENING : WAITING;
    $('shown').textContent = shown ? `${count.format(shown)} on show` : isDown ? '' : 'No events yet';
  }
  function take(item) {
    if (isPaused) {
      held.push(item);
      if (held.length > ROWS_MAX) {
        held.shift();
        missed += 1;
      }
      const kept = missed ? `, the newest ${ROWS_MAX} are kept` : '';
      $('held').textContent = `Paused; ${plural(held.length + missed, 'event', 'events')} waiting${kept}.`;
      return;
    }
    // A page in the background paints nothing: it must not gather rows for ever.
    if (ready.push(item) === 1) requestAnimationFrame(paint);
    if (ready.length > ROWS_MAX) ready.shift();
  }

  // ---- the gap that a notice names: a second socket reads from before it to the first event known after it

  const order = (text) => {
    const [segment, offset, line] = text.split('-');
    return [segment, offset, line.padStart(10, '0')].join('-');
  };
  function fill(line, text, notice) {
    const found = [];
    const above = Array.from($('events').children).indexOf(line);
    const most = Math.min(notice.skipped, Math.max(1, ROWS_MAX - above - 1));
    const second = new WebSocket(address(notice.from));
    let patience = 0;
    const wait = () => {
      clearTimeout(patience);
      patience = setTimeout(() => second.close(), 6000);
    };
    wait();
    second.onmessage = ({ data }) => {
      wait();
      const frame = JSON.parse(data);
      if (!frame.event) {
        // Twice a position: everything that fits has come.
        if (frame.position && found.length) second.close();
        return;
      }
      // The socket that sent the notice went on after the gap: what it showed is here already.
      const isPast = notice.until && order(frame.event.position) >= order(notice.until);
      if (!isPast && found.length < most) found.push(frame.event);
      if (isPast || found.length >= most) second.close();
    };
    second.onclose = () => {
      clearTimeout(patience);
      if (!found.length) {
        text.textContent = 'The events left out could not be fetched. Try again.';
        line.querySelector('button').disabled = false;
        return;
      }
      const left = notice.skipped - found.length;
      const rows = found.reverse().map(row);
      line.after(...rows);
      if (left > 0 && !notice.at_most) {
        line.replaceWith(gap({ ...notice, skipped: left, from: found[0].position }));
      } else {
        line.remove();
      }
      if (rows[0].isConnected) rows[0].querySelector('summary').focus();
      trim();
    };
  }

  // ---- the connection

  const state = (name, text) => {
    if ($('live-state').dataset.state === name && $('live-state').textContent === text) return;
    $('live-state').dataset.state = name;
    $('live-state').textContent = text;
    trim();
  };
  const listening = () => state(isPaused ? 'waiting' : 'live', isPaused ? 'Paused' : 'Live');
  function wish() {
    const made = new URLSearchParams();
    if ($('where').value.trim()) made.set('where', $('where').value.trim());
    if ($('bots').value !== 'exclude') made.set('bots', $('bots').value);
    return made;
  }
  // The server takes a plus sign for itself, not for a space.
  function asked(from) {
    const made = new URLSearchParams(wanted);
    if (from) made.set('from', from);
    return String(made).replaceAll('+', '%20');
  }
  function address(from) {
    const made = new URL('/v1/tail', location.href);
    made.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    made.search = asked(from);
    return made;
  }
  // A browser does not tell why a socket was refused; the same request without the upgrade does. 426: all is well.
  async function explain() {
    const then = wanted;
    try {
      await answer(`/v1/tail?${asked()}`);
      return again();
    } catch (refusal) {
      if (refusal.name === 'AbortError' || then !== wanted) return undefined;
      if (refusal.status === 426 || refusal.status === 0 || refusal.status >= 500) return again();
      refuse($('refusal'), refusal, wanted.get('where'));
      if (refusal.status !== 400) return again();
      $('where').setAttribute('aria-invalid', 'true');
      return state('down', 'Not listening');
    }
  }
  function again() {
    state('waiting', 'Reconnecting');
    clearTimeout(retry);
    attempts += 1;
    retry = setTimeout(connect, Math.min(500 * 2 ** (attempts - 1), BACK_OFF_MAX_MILLISECONDS));
  }
  function disconnect() {
    clearTimeout(retry);
    if (socket) socket.onclose = null;
    if (socket) socket.close();
    socket = null;
  }
  function connect() {
    disconnect();
    const opened = new WebSocket(address(position));
    socket = opened;
    let open = null;              // the notice that no event followed yet
    let watchdog = 0;
    const watch = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => opened.close(), SILENCE_MILLISECONDS);
    };
    watch();
    let isOpen = false;
    opened.onopen = () => {
      isOpen = true;
      $('refusal').hidden = true;
      $('where').removeAttribute('aria-invalid');
    };
    opened.onmessage = ({ data }) => {
      if (opened !== socket) return;
      watch();
      attempts = 0;
      listening();
      const frame = JSON.parse(data);
      if ('position' in frame) position = frame.position || position;
      if (frame.event) position = frame.event.position;
      if (frame.event && open) {
        open.until = position;
        open = null;
      }
      if (frame.event) take(frame);
      if (frame.skipped) {
        open = frame;
        take(frame);
      }
    };
    opened.onclose = () => {
      clearTimeout(watchdog);
      if (opened !== socket) return;
      socket = null;
      if (isOpen) again();
      else explain();
    };
  }

  function load() {
    const from = new URLSearchParams(location.search);
    $('where').value = from.get('where') || '';
    $('bots').value = from.get('bots') || 'exclude';
    if (!$('bots').value) $('bots').selectedIndex = 0;
  }
  function filter() {
    wanted = wish();
    remember(wanted, false);
    // What came before was chosen by another filter.
    position = null;
    clear();
    attempts = 0;
    state('connecting', 'Connecting');
    connect();
  }
  function clear() {
    $('events').replaceChildren();
    [ready, held, missed] = [[], [], 0];
    $('held').textContent = '';
    trim();
  }
  $('wish').addEventListener('submit', (submit) => {
    submit.preventDefault();
    filter();
  });
  $('bots').addEventListener('change', filter);
  $('clear').addEventListener('click', clear);
  function pause(wanted) {
    isPaused = wanted;
    $('pause').setAttribute('aria-pressed', String(isPaused));
    $('pause').textContent = isPaused ? 'Go on' : 'Pause';
    if (socket && socket.readyState === WebSocket.OPEN) listening();
    $('held').textContent = isPaused ? 'Paused; nothing is waiting.' : '';
    if (isPaused) return;
    const waiting = held;
    [held, missed] = [[], 0];
    waiting.forEach(take);
  }
  $('pause').addEventListener('click', () => pause(!isPaused));
  window.addEventListener('popstate', () => {
    load();
    filter();
  });
  load();
  wanted = wish();
  connect();
})();
