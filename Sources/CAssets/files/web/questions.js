// What the explorer, the live page and the funnel share: asking, refusals, conditions, ranges, suggestions, charts.
window.aurumQuestions = (() => {
  'use strict';
  const $ = (id) => document.getElementById(id);
  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined && text !== null) made.textContent = text;
    return made;
  };
  const TYPES = ['page', 'screen', 'track', 'click', 'impression', 'install', 'open', 'conversion', 'identify', 'group',
    'alias', 'consent', 'ad_revenue', 'postback', 'internal'];
  const COLUMNS = ['type', 'name', 'channel', 'app', 'url', 'referrer', 'title', 'screen', 'campaign.source',
    'campaign.medium', 'campaign.name', 'campaign.term', 'campaign.content', 'campaign.network', 'context.device.type',
    'context.os.name', 'user_id', 'anonymous_id', 'device_id', 'session_id', 'click_id', 'order_id', 'value',
    'currency', 'quantity', 'outcome', 'source_format'];
  const OPERATORS = [['=', 'is'], ['!=', 'is not'], ['contains', 'contains'], ['starts_with', 'starts with'],
    ['in', 'is one of'], ['>', 'more than'], ['>=', 'at least'], ['<', 'less than'], ['<=', 'at most'],
    ['exists', 'is set'], ['not exists', 'is not set']];
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || 'UTC';

  // ---- asking

  class Refusal extends Error {
    constructor(status, problem) {
      super(problem.detail || problem.title || `The server answered ${status}.`);
      Object.assign(this, { status, problem });
    }
  }
  async function answer(path, options) {
    let reply;
    try {
      reply = await fetch(path, options);
    } catch (failure) {
      if (failure.name === 'AbortError') throw failure;
      throw new Refusal(0, { detail: 'The server does not answer. Is it running?' });
    }
    if (reply.status === 401) {
      location.assign(`/login?next=${encodeURIComponent(location.pathname + location.search)}`);
      throw new DOMException('signed out', 'AbortError');
    }
    if (!reply.ok) throw new Refusal(reply.status, await reply.json().catch(() => ({})));
    return reply;
  }
  const post = (path, body, accept = 'application/json', signal = undefined) => answer(path, {
    method: 'POST', signal, headers: { 'Content-Type': 'application/json', Accept: accept }, body: JSON.stringify(body),
  });
  // One question at a time: a newer one ends the older.
  function asker(path) {
    let running = null;
    return async (body) => {
      if (running) running.abort();
      running = new AbortController();
      return (await post(path, body, 'application/json', running.signal)).json();
    };
  }
  // A text with everything from one of its bytes on marked.
  function pointed(text, offset) {
    const bytes = new TextEncoder().encode(text);
    const words = new TextDecoder();
    const place = element('code', 'place', words.decode(bytes.slice(0, offset)));
    place.append(element('mark', '', words.decode(bytes.slice(offset)) || ' the end '));
    return place;
  }
  // A refusal in an alert; `text` is what was asked, to point into. `placed` may say for one problem of many which text
  // of the page it is in, where, and what stands to be said of it.
  function refuse(target, refusal, text, placed = () => null) {
    const { problem } = refusal;
    const parts = [element('span', '', refusal.message)];
    if (refusal.status === 429) parts[0].textContent += ' Try again in a moment.';
    const said = /^(?:Query parameter \w+: )?(.*) at byte (\d+)\.?$/s.exec(refusal.message);
    if (text && Number.isInteger(problem.offset)) parts.push(pointed(text, problem.offset));
    else if (text && said) {
      parts[0].textContent = `The condition is not understood: ${said[1]}.`;
      parts.push(pointed(text, Number(said[2])));
    }
    if (problem.problems) {
      const list = element('ul');
      list.append(...problem.problems.map((line) => {
        const found = placed(line);
        const item = element('li', '', `${spoken(line.field)}: ${found ? found.detail : line.detail}`);
        if (found) item.append(pointed(found.text, found.offset));
        return item;
      }));
      parts[0].textContent = 'The server does not understand this question:';
      parts.push(list);
    }
    target.replaceChildren(...parts);
    target.hidden = false;
  }
  const spoken = (field) => String(field).replace(/^steps\[(\d+)\](\.where)?$/, (_, at) => `Step ${Number(at) + 1}`);

  // ---- conditions in the text language

  const quote = (text) => `"${String(text).replace(/[\\"]/g, '\\$&').replace(/\n/g, '\\n').replace(/\t/g, '\\t')}"`;
  const column = (path) => (/^[A-Za-z_][\w.$-]*$/.test(path) ? path : `\`${path.replace(/[\\`]/g, '\\$&')}\``);
  const isNumber = (text) => /^-?\d+(\.\d+)?$/.test(text.trim());
  function test({ column: path, op, value }) {
    const name = column(path);
    if (op === 'exists') return `${name} exists`;
    if (op === 'not exists') return `not ${name} exists`;
    if (op === 'in') return `${name} in (${value.split(',').map((part) => quote(part.trim())).join(', ')})`;
    // Quoted, a value finds texts and numbers; greater and less compare numbers as numbers.
    const bare = isNumber(value) && (/[<>]/.test(op) || path === 'value' || path === 'quantity');
    return `${name} ${op} ${bare ? value.trim() : quote(value)}`;
  }
  function event(type, name) {
    return [type && `type = ${type}`, name && `name = ${quote(name)}`].filter(Boolean);
  }

  // ---- parts of forms

  function labelled(text, control, className) {
    const label = element('label', className ? `field ${className}` : 'field');
    label.append(element('span', '', text), control);
    return label;
  }
  function choice(options, value) {
    const select = element('select');
    const known = options.some((option) => (Array.isArray(option) ? option[0] : option) === value);
    for (const option of known || !value ? options : [...options, value]) {
      const [key, text] = Array.isArray(option) ? option : [option, option];
      const made = element('option', '', text);
      made.value = key;
      select.append(made);
    }
    if (value !== undefined && value !== null) select.value = value;
    return select;
  }
  function entry(value, list, placeholder) {
    const input = element('input');
    Object.assign(input, { type: 'text', value: value || '', placeholder: placeholder || '', spellcheck: false });
    input.autocomplete = 'off';
    input.setAttribute('autocapitalize', 'off');
    if (list) input.setAttribute('list', list);
    return input;
  }
  const typeChoice = (value) => choice([['', 'any type'], ...TYPES], value);

  // The rows of a filter inside `box`. `changed` is called when a row says something else.
  function filterRows(box, changed) {
    let serial = 0;
    function add(row = { column: '', op: '=', value: '' }) {
      const line = element('li', 'filter');
      const path = entry(row.column, 'columns', 'column');
      const op = choice(OPERATORS, row.op);
      const values = element('datalist');
      values.id = `values-${serial += 1}`;
      const value = entry(row.value, values.id, 'value');
      const remove = element('button', 'ghost', 'Remove');
      remove.type = 'button';
      remove.setAttribute('aria-label', 'Remove this filter');
      const names = [['Column', path], ['Test', op], ['Value', value]];
      for (const [name, control] of names) control.setAttribute('aria-label', `Filter: ${name.toLowerCase()}`);
      const show = () => { value.hidden = /exists/.test(op.value); };
      op.addEventListener('change', show);
      value.addEventListener('focus', () => suggestValues(path.value.trim(), values));
      remove.addEventListener('click', () => {
        const next = line.nextElementSibling || line.previousElementSibling;
        line.remove();
        (next ? next.querySelector('input') : box.nextElementSibling).focus();
        changed();
      });
      line.append(path, op, value, values, remove);
      box.append(line);
      show();
      return path;
    }
    const read = () => Array.from(box.children).map((line) => {
      const [path, op, value] = line.querySelectorAll('input, select');
      return { column: path.value.trim(), op: op.value, value: value.value };
    }).filter((row) => row.column && (/exists/.test(row.op) || row.value !== ''));
    return { add, read, put: (rows) => { box.replaceChildren(); rows.forEach(add); } };
  }

  // ---- the range of a question: form, address, question

  const RANGES = { '1h': '60m', '24h': '24h', '7d': '7d', '30d': '30d' };
  const localTime = (instant) => {
    const date = new Date(instant);
    if (Number.isNaN(date.getTime())) return '';
    return new Date(date.getTime() - date.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  };
  function range() {
    const show = () => { $('custom-range').hidden = $('range').value !== 'custom'; };
    $('range').addEventListener('change', () => {
      if ($('range').value === 'custom' && !$('from').value) {
        $('from').value = localTime(Date.now() - 7 * 864e5);
        $('to').value = localTime(Date.now());
      }
      show();
    });
    return {
      put(state) {
        $('range').value = state.get('from') ? 'custom' : RANGES[state.get('range')] ? state.get('range') : '7d';
        $('from').value = state.get('from') ? localTime(state.get('from')) : '';
        $('to').value = state.get('to') ? localTime(state.get('to')) : '';
        show();
      },
      write(state) {
        if ($('range').value !== 'custom') return state.set('range', $('range').value);
        for (const side of ['from', 'to']) if ($(side).value) state.set(side, new Date($(side).value).toISOString());
        return state;
      },
      members() {
        if ($('range').value !== 'custom') return { last: RANGES[$('range').value] };
        const made = {};
        for (const side of ['from', 'to']) if ($(side).value) made[side] = new Date($(side).value).toISOString();
        return made;
      },
    };
  }

  // ---- suggestions; a page works without them

  const options = (values) => values.map((value) => {
    const made = element('option');
    made.value = value;
    return made;
  });
  async function suggestColumns() {
    const found = new Set(COLUMNS);
    $('columns').replaceChildren(...options([...found]));
    const walk = (object, prefix, depth) => {
      for (const [key, value] of Object.entries(object || {})) {
        const isObject = value && typeof value === 'object' && !Array.isArray(value);
        if (isObject && depth < 3) walk(value, `${prefix}${key}.`, depth + 1);
        else found.add(prefix + key);
      }
    };
    try {
      const { events } = await (await answer('/v1/events?limit=100')).json();
      for (const one of events) {
        for (const part of ['props', 'traits', 'context', 'campaign']) walk(one[part], `${part}.`, 0);
      }
      $('columns').replaceChildren(...options([...found].slice(0, 300)));
    } catch { /* the fixed names remain */ }
  }
  async function suggestNames() {
    await suggestValues('name', $('names'));
  }
  async function suggestValues(path, list) {
    if (!path || list.dataset.path === path) return;
    list.dataset.path = path;
    try {
      const q = `count where ${column(path)} exists by ${column(path)} last 30d order by count desc limit 50`;
      const { rows, columns } = await (await post('/v1/query', { q })).json();
      list.replaceChildren(...options(rows.map((row) => row[columns[0].name]).filter((value) => value !== null)));
    } catch { /* typing works */ }
  }

  // ---- words and numbers

  const count = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });
  const percent = new Intl.NumberFormat('en-US', { style: 'percent', maximumFractionDigits: 1 });
  const money = (amount, currency) => {
    try {
      return new Intl.NumberFormat('en-US', { style: 'currency', currency, maximumFractionDigits: 6 }).format(amount);
    } catch { return `${amount} ${currency}`; }
  };
  // Minor units are what the server counts in: digits of ISO 4217, which a browser may know differently.
  const ZERO_DIGITS = ['JPY', 'KRW', 'CLP', 'ISK', 'VND', 'XAF', 'XOF', 'XPF', 'BIF', 'DJF', 'GNF', 'KMF', 'PYG', 'RWF',
    'UGX', 'UYI', 'VUV'];
  const THREE_DIGITS = ['BHD', 'IQD', 'JOD', 'KWD', 'LYD', 'OMR', 'TND'];
  const minorDigits = (currency) => (ZERO_DIGITS.includes(currency) ? 0 : THREE_DIGITS.includes(currency) ? 3 : 2);
  function amount(minor, currency) {
    if (minor === null || minor === undefined) return '—';
    const digits = minorDigits(currency);
    return new Intl.NumberFormat('en-US', {
      style: 'currency', currency, minimumFractionDigits: digits, maximumFractionDigits: digits,
    }).format(minor / 10 ** digits);
  }
  function seconds(value) {
    if (value === null || value === undefined) return '—';
    if (value < 90) return `${count.format(Math.round(value * 10) / 10)} s`;
    const [unit, large, small] = value < 5400 ? [60, 'min', 's'] : [3600, 'h', 'min'];
    const rest = Math.round((value % unit) / (unit / 60));
    if (value < 172800) return `${Math.floor(value / unit)} ${large}${rest ? ` ${rest} ${small}` : ''}`;
    return `${count.format(Math.round(value / 8640) / 10)} days`;
  }
  const time = (text) => new Date(text).toLocaleString('en-US', {
    month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false,
  });
  const plural = (number, one, many) => `${count.format(number)} ${number === 1 ? one : many}`;
  function facts(target, reply) {
    const lines = [
      `${plural(reply.rows_scanned, 'row', 'rows')} scanned`,
      reply.rows_kept ? `${count.format(reply.rows_kept)} answered from kept parts` : '',
      `${count.format(reply.elapsed_ms)} ms`,
      reply.as_of ? `as of ${time(reply.as_of)}` : '',
      reply.timezone || '',
    ].filter(Boolean);
    target.replaceChildren(...lines.map((line) => element('li', '', line)));
    if (reply.approximate) {
      const badge = element('li', 'badge', 'approximate');
      badge.title = 'So many distinct persons that they were estimated, with a standard error of 0.81 %';
      target.prepend(badge);
    }
    if (reply.truncated && reply.row_count < reply.group_count) {
      const cut = `cut: ${count.format(reply.row_count)} of ${plural(reply.group_count, 'row', 'rows')}`;
      target.prepend(element('li', 'badge', cut));
    }
  }
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colour = (index) => token(`--c${(index % 8) + 1}`);
  // Marks the address with what is asked; `replace` where nothing new was asked.
  function remember(state, replace) {
    const address = `${location.pathname}${state.size ? `?${state}` : ''}`;
    if (address === location.pathname + location.search) return;
    history[replace ? 'replaceState' : 'pushState'](null, '', address);
  }
  return {
    $, element, zone, RANGES, answer, post, asker, refuse, quote, column, test, event, labelled, choice, entry,
    typeChoice, filterRows, range, suggestColumns, suggestNames, count, percent, money, minorDigits, amount, seconds,
    time, plural, facts, token, colour, remember,
  };
})();
