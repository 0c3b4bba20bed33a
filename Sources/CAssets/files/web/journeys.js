// Journeys: conversions that a run over the log credited, and why one of them was credited as it was.
(() => {
  'use strict';
  const { $, element, answer, refuse, remember, plural, count } = window.aurumQuestions;
  const PAGE = 50;
  const NAMES = {
    first: 'First touch', last: 'Last touch', last_non_direct: 'Last non-direct', linear: 'Linear',
    time_decay: 'Time decay', position: 'Position 40/20/40', w_shaped: 'W-shaped 30/30/40',
    w_shaped_30_30_30_10: 'W-shaped 30/30/30/10', markov1: 'Markov, order 1', markov2: 'Markov, order 2',
    markov3: 'Markov, order 3', shapley: 'Shapley', custom: 'Custom weights',
  };
  const REASONS = {
    outside_window: 'No: older than the window', after_conversion: 'No: after the conversion',
    same_touchpoint: 'No: the same touch as another', same_session: 'No: its session counts once',
    fraud: 'No: rejected as fraud', fraud_click: 'No: of a click rejected as fraud',
    older_than_newest_200: 'No: 200 newer ones count', no_consent: 'No: advertising was refused', bot: 'No: a bot',
    duplicate: 'No: a copy',
  };
  const SHAPES = { click: 'M5 4l14 7-6 2-2 6z', view: 'M3 12s3.500-6 9-6 9 6 9 6-3.500 6-9 6-9-6-9-6zM12 14.500a2.500 2.500 0 1 0 0-5 2.500 2.500 0 0 0 0 5z', visit: 'M6 3.500h8l4 4v13H6zM14 3.500v4h4', goal: 'M5 12.500l4.500 4.500L19 7.500' };
  let listed = [];
  let next = null;
  let applied = new URLSearchParams();
  let shown = null;

  const stamp = (text) => {
    const made = element('time', '', new Date(text).toLocaleString('en-US', { dateStyle: 'medium', timeStyle: 'short' }));
    made.dateTime = text;
    made.title = text;
    return made;
  };
  const cell = (name, ...parts) => {
    const made = element(name);
    made.append(...parts);
    return made;
  };
  const digits = (currency) => new Intl.NumberFormat('en-US', { style: 'currency', currency })
    .resolvedOptions().maximumFractionDigits;
  const money = (minor, currency) => {
    if (!currency) return minor ? count.format(minor) : '—';
    try {
      return new Intl.NumberFormat('en-US', { style: 'currency', currency }).format(minor / 10 ** digits(currency));
    } catch { return `${count.format(minor)} ${currency}`; }
  };
  const share = (ppm) => `${(ppm / 10000).toFixed(1)} %`;
  const words = (name) => String(name || '').replace(/_/g, ' ').replace(/^./, (first) => first.toUpperCase());
  const campaign = (text) => (text && text !== '(none)' ? text : '—');
  const number = (value) => Number(value.toPrecision(6)).toString();
  function before(seconds) {
    const units = [[86400, 'day'], [3600, 'hour'], [60, 'minute'], [1, 'second']];
    const [size, name] = units.find(([unit]) => seconds >= unit) || [1, 'second'];
    return `${plural(Math.round(seconds / size), name, `${name}s`)} before`;
  }
  async function attempt(work) {
    try {
      await work();
      $('refusal').hidden = true;
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      refuse($('refusal'), refusal);
      $('as-of').textContent = 'Not answered';
    }
  }

  // ---- conversions

  const wish = () => {
    const made = new URLSearchParams();
    for (const id of ['conversion', 'from', 'to']) if ($(id).value) made.set(id, $(id).value);
    return made;
  };
  function address(row) {
    const made = new URLSearchParams(applied);
    made.set('event', row.event);
    made.set('app', row.app);
    return made;
  }
  function line(row) {
    const made = element('tr');
    const link = element('a', '', row.event);
    link.href = `/journeys?${address(row)}`;
    link.setAttribute('aria-label', `Why ${row.event} was credited`);
    link.addEventListener('click', (click) => {
      if (click.metaKey || click.ctrlKey || click.shiftKey || click.button) return;
      click.preventDefault();
      remember(address(row), false);
      attempt(() => explain(row.event, row.app, true));
    });
    const name = cell('th', link);
    name.scope = 'row';
    made.dataset.event = row.event;
    made.append(cell('td', stamp(row.at)), name, cell('td', element('code', '', row.person.slice(-8))),
      element('td', '', row.app), element('td', 'num', money(row.amount_minor, row.currency)));
    return made;
  }
  function none(text) {
    $('no-conversions').textContent = text;
    $('no-conversions').hidden = !text;
  }
  let loads = 0;
  async function load(older = false) {
    const mine = loads += 1;
    const wanted = new URLSearchParams(applied);
    wanted.set('limit', PAGE);
    if (older && next) wanted.set('after', next);
    $('as-of').textContent = 'Loading';
    let page;
    try {
      page = await (await answer(`/v1/attribution/log-conversions?${wanted}`)).json();
    } catch (refusal) {
      if (refusal.problem && ['attribution_not_computed', 'not_yet_run'].includes(refusal.problem.code)) {
        listed = [];
        next = null;
        $('conversions').replaceChildren();
        $('more').hidden = true;
        $('run').textContent = '';
        none('No run has credited this conversion yet. The page Campaigns, or aurum attribution run, starts one.');
        $('as-of').textContent = 'Nothing is computed yet';
        return;
      }
      throw refusal;
    }
    // Another list was asked for meanwhile.
    if (mine !== loads) return;
    listed = older ? listed.concat(page.conversions) : page.conversions;
    next = page.next;
    $('conversions').replaceChildren(...listed.map(line));
    $('more').hidden = !next;
    none(listed.length ? '' : next ? 'The newest events are repeats that do not count; older ones may.'
      : 'The run credited no conversion in these days.');
    $('run').textContent = `Version ${page.result.version} of ${page.result.conversion}`;
    $('as-of').replaceChildren('Run of ', page.result.finished_at ? stamp(page.result.finished_at) : '—');
  }

  // ---- one journey

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
  function step(kind, title, detail, at) {
    const row = element('li');
    row.dataset.kind = kind === 'goal' ? 'ledger' : 'touch';
    const body = element('div');
    body.append(element('h3', '', title));
    if (detail) body.append(element('p', '', detail));
    row.append(icon(kind), body, stamp(at));
    return row;
  }
  const chosen = () => shown.models.find((model) => model.model === $('model').value) || shown.models[0];
  function timeline() {
    const { conversion, journey } = shown;
    const model = chosen();
    const steps = journey.map((touch) => {
      const credit = model.credits.find((one) => one.touchpoint === touch.touchpoint);
      const detail = [words(touch.kind), touch.milestone ? 'milestone' : '', before(touch.seconds_before_conversion),
        credit ? `${share(credit.credit_ppm)}, ${money(credit.amount_minor, conversion.currency)}` : ''];
      return step(touch.kind, [words(touch.channel), touch.campaign].filter(Boolean).join(' · '),
        detail.filter(Boolean).join(' · '), touch.at);
    });
    steps.push(step('goal', `${words(shown.result.conversion)} ${money(conversion.amount_minor, conversion.currency)}`,
      conversion.event, conversion.at));
    $('touchpoints').replaceChildren(...steps);
    $('no-touchpoints').hidden = journey.length > 0;
    $('cut').hidden = !shown.truncated;
  }
  function inputs(model) {
    const parts = [];
    const said = model.inputs;
    if (said.half_life_seconds) parts.push(`half-life ${number(said.half_life_seconds / 86400)} days`);
    if (said.milestone === null) parts.push('no milestone in this journey');
    for (const [label, values] of [['removal effect', said.removal_effects], ['value', said.value]]) {
      for (const [channel, value] of Object.entries(values || {})) {
        parts.push(`${label} of ${channel} ${number(value)}, ${plural(said.touches_of_channel[channel], 'touch', 'touches')}`);
      }
    }
    if (said.weights) {
      const { channels, ...rest } = said.weights;
      parts.push(...Object.entries(rest).map(([part, weight]) => `${part} ${number(weight)}`));
      parts.push(...Object.entries(channels || {}).map(([channel, factor]) => `${channel} times ${number(factor)}`));
    }
    if (model.split_equally) parts.push('everything weighs 0: shared equally');
    return parts.join('; ');
  }
  function credits() {
    const { conversion, journey, models } = shown;
    const model = chosen();
    $('formula').textContent = `${NAMES[model.model]}: ${model.formula}`;
    $('inputs').textContent = inputs(model);
    $('inputs').hidden = !$('inputs').textContent;
    const order = [model, ...models.filter((other) => other !== model)];
    const head = element('tr');
    const column = (text, isNumber) => {
      const made = element('th', isNumber ? 'num' : '', text);
      made.scope = 'col';
      return made;
    };
    head.append(column('Touch'), column('Formula', true), column('Weight', true),
      ...order.map((each) => column(NAMES[each.model], true)));
    $('credit-head').replaceChildren(head);
    const rows = model.credits.map((credit, index) => {
      const touch = credit.touchpoint === null ? null : journey[credit.touchpoint];
      const row = element('tr');
      const name = element('th', '', touch ? `${credit.touchpoint + 1}. ${words(touch.channel)}` : 'Organic');
      name.scope = 'row';
      if (touch && touch.campaign) name.append(` · ${campaign(touch.campaign)}`);
      row.append(name, element('td', 'num', number(credit.raw)), element('td', 'num', number(credit.weight)));
      for (const each of order) {
        const part = each.credits[index];
        const made = element('td', 'num', share(part.credit_ppm));
        made.append(element('small', '', money(part.amount_minor, conversion.currency)));
        row.append(made);
      }
      return row;
    });
    $('credits').replaceChildren(...rows);
    const sum = element('tr');
    const label = element('th', '', 'Total');
    label.scope = 'row';
    sum.append(label, element('td'), element('td'));
    for (const each of order) {
      const all = (key) => each.credits.reduce((total, part) => total + part[key], 0);
      const made = element('td', 'num', share(all('credit_ppm')));
      made.append(element('small', '', money(all('amount_minor'), conversion.currency)));
      sum.append(made);
    }
    $('credit-sum').replaceChildren(sum);
  }
  function counted(touch) {
    if (touch.eligible) return `Yes: touch ${touch.touchpoint + 1}`;
    if (touch.reason === 'same_touchpoint') return `No: the same touch as ${touch.touchpoint + 1}`;
    return REASONS[touch.reason] || words(touch.reason);
  }
  function touches() {
    const rows = shown.touches.map((touch) => {
      const row = element('tr');
      const name = element('th', '', touch.joined ? 'Joined by an install' : words(touch.type));
      name.scope = 'row';
      if (touch.event) name.append(element('small', '', touch.event));
      row.append(cell('td', stamp(touch.at)), name, element('td', '', words(touch.channel)),
        element('td', '', campaign(touch.campaign)), element('td', '', counted(touch)));
      return row;
    });
    $('touches').replaceChildren(...rows);
    $('no-touches').hidden = rows.length > 0;
    $('left-out').textContent = shown.touches_left_out
      ? `${plural(shown.touches_left_out, 'more touch is', 'more touches are')} not shown` : '';
    $('notes').textContent = shown.notes.join(' ');
  }
  function show() {
    const { conversion, models } = shown;
    const kept = $('model').value || new URLSearchParams(location.search).get('model');
    $('model').replaceChildren(...models.map((model) => {
      const option = element('option', '', NAMES[model.model] || model.model);
      option.value = model.model;
      return option;
    }));
    $('model').value = models.some((model) => model.model === kept) ? kept : 'last';
    $('worth').textContent = `${money(conversion.amount_minor, conversion.currency)}, version ${shown.result.version}`;
    timeline();
    credits();
    touches();
    for (const id of ['journey', 'credits-panel', 'touches-panel']) $(id).hidden = false;
  }
  function hide() {
    shown = null;
    for (const id of ['journey', 'credits-panel', 'touches-panel']) $(id).hidden = true;
  }
  function mark(event) {
    for (const row of $('conversions').children) {
      if (row.dataset.event === event) row.setAttribute('aria-current', 'true');
      else row.removeAttribute('aria-current');
    }
  }
  let asked = 0;
  async function explain(event, app, isMoved) {
    const mine = asked += 1;
    const question = new URLSearchParams();
    question.set('conversion', applied.get('conversion') || 'purchase');
    if (app) question.set('app', app);
    hide();
    mark(event);
    const path = `/v1/attribution/log-conversions/${encodeURIComponent(event)}/why?${question}`;
    const found = await (await answer(path)).json();
    // Another journey was asked for meanwhile.
    if (mine !== asked) return;
    shown = found;
    show();
    if (isMoved) $('j-title').focus();
  }

  // ---- the page

  function restore() {
    const from = new URLSearchParams(location.search);
    const name = from.get('conversion') || 'purchase';
    if (![...$('conversion').options].some((option) => option.value === name)) {
      const option = element('option', '', name);
      option.value = name;
      $('conversion').append(option);
    }
    $('conversion').value = name;
    for (const id of ['from', 'to']) $(id).value = from.get(id) || '';
    applied = wish();
  }
  async function begin() {
    const from = new URLSearchParams(location.search);
    hide();
    await load();
    if (from.get('event')) await explain(from.get('event'), from.get('app'), false);
  }
  $('wish').addEventListener('submit', (submit) => {
    submit.preventDefault();
    applied = wish();
    remember(applied, false);
    attempt(begin);
  });
  $('conversion').addEventListener('change', () => $('wish').requestSubmit());
  $('more').addEventListener('click', () => attempt(() => load(true)));
  $('model').addEventListener('change', () => {
    if (!shown) return;
    timeline();
    credits();
  });
  window.addEventListener('popstate', () => {
    restore();
    attempt(begin);
  });
  attempt(async () => {
    restore();
    const wanted = $('conversion').value;
    const { conversions } = await (await answer('/v1/attribution/conversions')).json();
    const names = conversions.map((one) => one.name);
    if (!names.includes(wanted)) names.push(wanted);
    $('conversion').replaceChildren(...names.map((name) => {
      const option = element('option', '', name);
      option.value = name;
      return option;
    }));
    $('conversion').value = wanted;
    await begin();
  });
})();
