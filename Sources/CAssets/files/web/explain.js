// Explain this dollar: the document of /v1/explain/{leg} as a path, credits, reasons, bids and ledger entries.
(() => {
  'use strict';
  const $ = (id) => document.getElementById(id);
  const story = $('story');
  const SHAPES = {
    touch: 'M5 4l14 7-6 2-2 6z',
    page: 'M6 3.5h8l4 4v13H6zM14 3.5v4h4',
    chat: 'M4 5.5h16v10.5H10l-4.5 4v-4H4z',
    lead: 'M12 11.5a3.7 3.7 0 1 0 0-7.4 3.7 3.7 0 0 0 0 7.4zM4.8 20c.7-3.6 3.5-5.4 7.2-5.4s6.500 1.800 7.200 5.400',
    consent: 'M5 12.500l4.500 4.500L19 7.500',
    bid: 'M4 20h10M7 12l5 5M10 5l7 7M8.500 10.500l4-4M13 9l7.500 7.500',
    delivery: 'M4 12h14M13 6.500l5.500 5.500-5.500 5.500',
    ledger: 'M5 4h14v16H5zM9 4v16M12 9h4M12 13h4',
  };
  const NAMES = {
    touch: 'Touch', page: 'Page', chat: 'Conversation', lead: 'Lead', consent: 'Consent', bid: 'Bid',
    delivery: 'Delivery', ledger: 'Ledger',
  };
  let currency = 'USD';

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined && text !== null) made.textContent = text;
    return made;
  };
  const money = (minor) => {
    if (!Number.isFinite(minor)) return '—';
    const format = new Intl.NumberFormat('en-US', { style: 'currency', currency });
    return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
  };
  const words = (name) => String(name || '').replace(/([a-z])([A-Z])/g, '$1 $2').replace(/_/g, ' ').toLowerCase();
  const title = (name) => words(name).replace(/^./, (first) => first.toUpperCase());
  // "(none)" and "(organic)" are the words of the report for what a touch does not name.
  const named = (text) => (text === '(none)' || !text ? '' : text.replace(/^\((\w+)\)$/, (_, word) => title(word)));
  const stamp = (text, style) => {
    const made = element('time', '', new Date(text).toLocaleString('en-US', style));
    made.dateTime = text;
    made.title = text;
    return made;
  };
  const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false };
  const FULL = { dateStyle: 'medium', timeStyle: 'medium' };
  const fill = (id, items) => $(id).replaceChildren(...items);
  const orEmpty = (id, rows) => {
    fill(id, rows);
    $(`${id}-empty`).hidden = rows.length > 0;
    $(id).closest('.scroll').hidden = rows.length === 0;
  };

  function icon(kind) {
    const holder = element('span', 'icon');
    holder.setAttribute('aria-hidden', 'true');
    const picture = document.createElementNS('http://www.w3.org/2000/svg', 'svg');
    picture.setAttribute('viewBox', '0 0 24 24');
    const shape = document.createElementNS('http://www.w3.org/2000/svg', 'path');
    shape.setAttribute('d', SHAPES[kind] || 'M12 12h.01');
    picture.append(shape);
    holder.append(picture);
    return holder;
  }
  function span(milliseconds) {
    const units = [[86400000, 'day'], [3600000, 'hour'], [60000, 'minute'], [1000, 'second']];
    const [size, name] = units.find(([unit]) => milliseconds >= unit) || [1, 'millisecond'];
    const value = Math.round(milliseconds / size);
    return `${value} ${name}${value === 1 ? '' : 's'}`;
  }
  function path(steps) {
    if (steps.length > 1) {
      const whole = new Date(steps[steps.length - 1].at) - new Date(steps[0].at);
      $('path-span').textContent = `${steps.length} steps in ${span(whole)}`;
    }
    const days = new Set(steps.map((step) => new Date(step.at).toDateString()));
    fill('path', steps.map((step) => {
      const row = element('li');
      row.dataset.kind = step.kind;
      const body = element('div');
      const head = element('h3', '', step.title);
      const kind = NAMES[step.kind] || title(step.kind);
      if (step.title.toLowerCase() !== kind.toLowerCase()) head.append(element('span', 'kind', ` · ${kind}`));
      body.append(head);
      if (step.detail) body.append(element('p', '', step.detail));
      const style = days.size > 1 ? { month: 'short', day: 'numeric', ...CLOCK } : CLOCK;
      row.append(icon(step.kind), body, stamp(step.at, style));
      return row;
    }));
  }
  function credits(id, list) {
    if (!list.length) {
      fill(id, [element('li', 'muted', 'No touch to credit.')]);
      return;
    }
    fill(id, list.map((credit) => {
      const row = element('li');
      row.append(element('b', '', money(credit.amount_minor)),
        named(credit.campaign) || named(credit.source) || title(credit.channel));
      const from = [named(credit.source), named(credit.medium)].filter(Boolean).join(' / ');
      const share = credit.share_ppm < 1000000 ? `${(credit.share_ppm / 10000).toFixed(1)} %` : '';
      row.append(element('small', '', [from, title(credit.channel), share].filter(Boolean).join(' · ')));
      return row;
    }));
  }
  function factors(lead) {
    $('score').textContent = lead.score;
    $('tier').textContent = title(lead.tier);
    $('tier').dataset.tier = lead.tier;
    fill('factors', (lead.factors || []).map((factor) => {
      const row = element('li');
      const line = element('div', 'row');
      const weight = (factor.weight_bp / 100).toFixed(0);
      line.append(element('b', '', factor.label || title(factor.factor)),
        element('span', '', `${factor.points} points × ${weight} %`));
      const meter = element('span', 'meter');
      meter.setAttribute('aria-hidden', 'true');
      const bar = element('i');
      bar.style.setProperty('--part', `${factor.points}%`);
      meter.append(bar);
      row.append(line, meter);
      const evidence = [factor.reason, factor.evidence].filter(Boolean).join(' · ');
      if (evidence) row.append(element('small', '', evidence));
      return row;
    }));
  }
  function bids(list, leg) {
    orEmpty('bids', list.map((bid) => {
      const row = element('tr', bid.buyer === leg.buyer ? 'won' : '');
      row.append(element('td', '', bid.name || bid.buyer), element('td', '', title(bid.verdict)),
        element('td', 'num', money(bid.bid_minor)), element('td', 'num', money(bid.expected_net_minor)),
        element('td', '', bid.reason || '—'));
      return row;
    }));
  }
  function ledger(list) {
    orEmpty('ledger', list.map((entry) => {
      const row = element('tr');
      const when = element('td', 'wide');
      when.append(stamp(entry.at, CLOCK));
      const account = element('td');
      account.append(element('code', '', entry.account));
      row.append(when, account, element('td', '', title(entry.kind)),
        element('td', 'num', entry.debit_minor ? money(entry.debit_minor) : ''),
        element('td', 'num', entry.credit_minor ? money(entry.credit_minor) : ''));
      return row;
    }));
    const sum = (key) => list.reduce((total, entry) => total + (entry[key] || 0), 0);
    const debit = sum('debit_minor');
    const credit = sum('credit_minor');
    const total = element('tr');
    const label = element('th', '', 'Sum');
    label.scope = 'row';
    label.colSpan = 2;
    total.append(element('td', 'wide'), label, element('td', 'num', money(debit)), element('td', 'num', money(credit)));
    fill('ledger-sum', [total]);
    const balance = debit === credit ? 'Debit equals credit.' : 'Debit and credit differ.';
    $('ledger-balance').textContent = list.length ? balance : '';
  }
  function show(view) {
    currency = view.leg.currency || currency;
    $('decision').textContent = view.decision || '';
    path(view.path || []);
    credits('credit-first', view.credits.first || []);
    credits('credit-last', view.credits.last || []);
    const model = $('credit-model');
    model.onchange = () => credits('credit-other', view.credits[model.value] || []);
    model.onchange();
    factors(view.lead);
    bids(view.bids || [], view.leg);
    ledger(view.ledger || []);
    $('trace').textContent = view.trace_id || '—';
    $('story-body').hidden = false;
  }
  function fail(text) {
    $('story-alert').textContent = text;
    $('story-alert').hidden = false;
  }
  async function load() {
    try {
      const address = `/v1/explain/${encodeURIComponent(story.dataset.leg)}`;
      const answer = await fetch(address, { headers: { Accept: 'application/json' } });
      if (answer.status === 401 || answer.status === 403) {
        location.assign(`/login?next=${encodeURIComponent(location.pathname)}`);
        return;
      }
      if (answer.status === 404) fail('There is no sale under this address.');
      else if (!answer.ok) fail(`The path could not be read (status ${answer.status}). Reload to try again.`);
      else show(await answer.json());
    } catch {
      fail('The server does not answer. Reload to try again.');
    }
    $('story-loading').hidden = true;
    story.removeAttribute('aria-busy');
  }
  const sold = $('sold-at');
  if (sold && sold.dateTime) sold.textContent = new Date(sold.dateTime).toLocaleString('en-US', FULL);
  load();
})();
