// Campaigns: a report pushed over /v1/live/campaigns whenever it changes, polled while that is down.
(() => {
  'use strict';
  const { $, element, answer, refuse, remember, token } = window.aurumQuestions;
  const POLL_MILLISECONDS = 2000;
  const STALE_MILLISECONDS = 15000;
  const BACK_OFF_MAX_MILLISECONDS = 20000;
  const BARS = 8;
  // What results of runs over the log are kept by.
  const RUN_KEYS = ['campaign', 'channel', 'network', 'day', 'week', 'month'];
  const FIELDS = { definition: '', model: 'last', range: '30', by: 'campaign', basis: 'booked', view: 'one' };
  const board = $('campaigns');
  let socket = null;
  let attempts = 0;
  let polling = 0;
  let retry = 0;
  let chart = null;
  let shown = null;

  // ---- numbers

  const count = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });
  const share = new Intl.NumberFormat('en-US', { style: 'percent', maximumFractionDigits: 2 });
  const times = new Intl.NumberFormat('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  const formats = {};
  const money = (minor, currency) => {
    if (minor === null || minor === undefined) return '—';
    formats[currency] = formats[currency] || new Intl.NumberFormat('en-US', { style: 'currency', currency });
    const format = formats[currency];
    return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
  };
  const number = (value) => (value === null || value === undefined ? '—' : count.format(value));
  const percent = (value) => (value === null ? '—' : share.format(value));
  const roas = (value) => (value === null ? '—' : `${times.format(value)}×`);
  const cost = (line, minor) => (line.spend_minor ? money(minor, line.currency) : '—');
  const words = (key) => {
    if (key === '(none)') return $('by').value === 'campaign' ? 'No campaign' : 'Not named';
    if (key === '(not set)') return 'Not set';
    if (key === '(organic)' || key === 'organic') return 'No touch known';
    if (key === 'unmatched') return 'Unmatched spend';
    if (['channel', 'medium', 'network'].includes($('by').value)) {
      return key.replace(/_/g, ' ').replace(/^./, (first) => first.toUpperCase());
    }
    return key;
  };
  const cell = (text, note) => {
    const made = element('td', 'num', text);
    if (note) made.append(element('small', '', note));
    return made;
  };
  const name = (line, many) => {
    const made = element('th', '', words(line.key));
    made.scope = 'row';
    if (many) made.append(element('small', '', line.currency));
    return made;
  };

  // ---- one model

  // What a figure of an earlier moment is now, where it is another.
  const later = (line, part) => (line.changed && line.changed[part] !== undefined
    ? `now ${money(line.changed[part], line.currency)}` : '');
  const notes = (...parts) => parts.filter(Boolean).join(' · ');
  function row(line, many) {
    const made = element('tr');
    made.append(
      name(line, many), cell(money(line.spend_minor, line.currency), later(line, 'spend_minor')),
      cell(money(line.revenue_minor, line.currency), notes(
        line.returned_minor ? `${money(line.returned_minor, line.currency)} returned` : '',
        later(line, 'revenue_minor'))),
      cell(roas(line.roas)), cell(cost(line, line.cpa_minor)), cell(number(line.conversions)),
      cell(number(line.leads)), cell(cost(line, line.cpl_minor)),
      cell(number(line.clicks), line.clicks_from === 'visits' && line.clicks ? 'visits' : ''),
      cell(percent(line.ctr)), cell(percent(line.cvr)), cell(cost(line, line.cpi_minor)),
    );
    return made;
  }
  function tile(title, value, note, id) {
    const made = element('section', 'tile');
    made.append(element('h2', '', title), element('p', 'figure', value));
    made.lastChild.id = id;
    if (note) made.append(element('p', 'tile-note', note));
    return made;
  }
  function totals(report) {
    const tiles = [];
    for (const total of report.totals) {
      const { currency } = total;
      const line = total.models ? { ...total, ...total.models[report.compare_to] } : total;
      tiles.push(
        tile(`Spend, ${currency}`, money(line.spend_minor, currency), later(total, 'spend_minor'), `spend-${currency}`),
        tile(`Revenue, ${currency}`, money(line.revenue_minor, currency), notes(
          line.recognised_minor === undefined || report.definition
            ? '' : `${money(line.recognised_minor, currency)} recognised`,
          later(line, 'revenue_minor')), `revenue-${currency}`),
        tile('ROAS', roas(line.roas), '', `roas-${currency}`),
        tile('CPA', cost(line, line.cpa_minor),
          `${number(line.conversions)} ${report.definition ? 'conversions' : 'sales'}`, `cpa-${currency}`),
      );
    }
    $('totals').replaceChildren(...tiles);
  }
  function bars(lines) {
    const top = lines.filter((line) => line.spend_minor || line.revenue_minor).slice(0, BARS);
    $('chart-box').hidden = !top.length || !window.Chart;
    if (!top.length || !window.Chart) return;
    chart = chart || new window.Chart($('chart'), {
      type: 'bar',
      data: { labels: [], datasets: ['Spend', 'Revenue'].map((label) => ({
        label, data: [], borderRadius: 3, barThickness: 15, barPercentage: 0.9 })) },
      options: {
        indexAxis: 'y', animation: false, maintainAspectRatio: false,
        interaction: { mode: 'index', axis: 'y', intersect: false },
        plugins: {
          legend: { display: true, labels: { boxWidth: 12 } },
          tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${item.dataset.words[item.dataIndex]}` } },
        },
        scales: {
          x: { beginAtZero: true, grid: {}, ticks: { maxRotation: 0 } },
          y: { grid: { display: false }, ticks: { autoSkip: false } },
        },
      },
    });
    const room = chart.width < 420 ? 16 : 28;
    const short = (text) => (text.length > room ? `${text.slice(0, room - 1)}…` : text);
    const digits = (line) => 10 ** new Intl.NumberFormat('en-US', { style: 'currency', currency: line.currency })
      .resolvedOptions().maximumFractionDigits;
    chart.data.labels = top.map((line) => short(words(line.key)));
    chart.data.datasets.forEach((set, index) => {
      const part = index ? 'revenue_minor' : 'spend_minor';
      set.data = top.map((line) => line[part] / digits(line));
      set.words = top.map((line) => money(line[part], line.currency));
      set.backgroundColor = token(index ? '--last' : '--first');
    });
    for (const scale of Object.values(chart.options.scales)) {
      Object.assign(scale.ticks, { color: token('--ink-3'), font: { family: token('--font'), size: 12 } });
      scale.grid.color = token('--grid');
    }
    chart.options.plugins.legend.labels.color = token('--ink-2');
    $('chart-box').style.minHeight = `${Math.max(200, top.length * 44 + 70)}px`;
    chart.update();
  }

  // ---- all models

  function comparison(report) {
    const many = report.totals.length > 1;
    const titles = Object.fromEntries(Array.from($('model').options, (one) => [one.value, one.textContent]));
    $('base-name').textContent = titles[report.compare_to].toLowerCase();
    const head = element('tr');
    head.append(element('th', '', $('by').selectedOptions[0].textContent), element('th', 'num', 'Spend'));
    for (const model of report.models) head.append(element('th', 'num', titles[model]));
    for (const one of head.children) one.scope = 'col';
    $('model-head').replaceChildren(head);
    const line = (one, title) => {
      const made = element('tr');
      const first = title ? element('th', '', `${title}${many ? `, ${one.currency}` : ''}`) : name(one, many);
      first.scope = 'row';
      made.append(first, cell(money(one.spend_minor, one.currency), later(one, 'spend_minor')));
      for (const model of report.models) {
        const figures = one.models[model];
        const gap = figures.difference_minor;
        const apart = gap ? `${gap > 0 ? '+' : '−'}${money(Math.abs(gap), one.currency)}` : '';
        made.append(cell(money(figures.revenue_minor, one.currency),
          notes(figures.roas === null ? '' : roas(figures.roas), apart,
            later({ ...figures, currency: one.currency }, 'revenue_minor'))));
      }
      return made;
    };
    $('model-rows').replaceChildren(
      ...report.rows.map((one) => line(one)), ...report.totals.map((one) => line(one, 'Total')));
  }

  // Which run over the log the rows are of, and what it leaves out.
  function runGaps(report) {
    const { result, unattributed } = report;
    const revenue = Object.entries(unattributed.revenue_minor).map(([currency, minor]) => money(minor, currency));
    const texts = [`Conversions ${report.definition} of version ${result.version}, computed ${
      new Date(result.finished_at).toLocaleString('en-US')}, log position ${result.position || '—'}.`,
    `${number(unattributed.conversions)} of them have no known touch${
      revenue.length ? `, worth ${revenue.join(' and ')}` : ''}.`];
    if (report.beyond_run) {
      texts.push('The range has days that this run does not cover: what was spent on them has no conversions beside it. '
        + 'Compute anew below.');
    }
    return texts;
  }
  // What the rows leave out or could not divide.
  function gaps(report) {
    const lost = report.totals.map((one) => one.not_recorded).filter(Boolean);
    const sales = lost.reduce((sum, one) => sum + one.conversions, 0);
    // Leads have no currency and stand on the line of each.
    const leads = lost.reduce((most, one) => Math.max(most, one.leads), 0);
    const texts = [];
    if (lost.length) {
      texts.push(`${number(sales)} sales and ${number(leads)} leads were credited by an earlier release, which did not `
        + 'keep ads. They stand under Not set.');
    }
    if (report.touches_truncated) {
      texts.push('There are more of these than are counted: clicks of the rarest are left out.');
    }
    if (report.definition) texts.push(...runGaps(report));
    $('gaps').textContent = texts.join(' ');
    $('gaps').hidden = !texts.length;
  }
  function unmatched(list) {
    $('unmatched').hidden = !list.length;
    $('unmatched-rows').replaceChildren(...list.map((one) => {
      const made = element('tr');
      made.append(element('th', '', one.campaign || one.campaign_id), element('td', '', one.network),
        cell(money(one.spend_minor, one.currency)));
      return made;
    }));
  }
  function show(report) {
    // A report that was asked for before the form changed.
    if (Boolean(report.models && report.compare_to) !== ($('view').value === 'compare')) return;
    if (Boolean(report.compared_at) !== Boolean(moment())) return;
    if ((report.definition || '') !== $('definition').value) return;
    const at = new Date(report.as_of);
    shown = report;
    board.dataset.state = 'ready';
    board.removeAttribute('aria-busy');
    $('refusal').hidden = true;
    $('as-of').textContent = report.compared_at
      ? at.toLocaleString('en-US', { hour12: false }) : at.toLocaleTimeString('en-US', { hour12: false });
    $('as-of').dateTime = report.as_of;
    const since = report.spend_known_since;
    $('spend-gap').hidden = !since || at >= new Date(since);
    if (since) {
      $('spend-since').textContent = new Date(since).toLocaleString('en-US', { hour12: false });
      $('spend-since').dateTime = since;
    }
    const compares = Boolean(report.compare_to);
    $('one').hidden = compares;
    $('compare').hidden = !compares;
    totals(report);
    unmatched(report.unmatched);
    gaps(report);
    if (compares) {
      comparison(report);
      return;
    }
    $('sales-name').textContent = report.definition ? 'Conversions' : 'Sales';
    $('by-name').textContent = $('by').selectedOptions[0].textContent;
    $('o-note').textContent = `${$('model').selectedOptions[0].textContent}, days of ${report.timezone}${
      report.timezone_mixed ? ' (accounts differ)' : ''}`;
    $('nothing').hidden = report.rows.length > 0;
    const many = report.totals.length > 1;
    const isTime = ['day', 'week', 'month'].includes($('by').value);
    const rows = isTime
      ? [...report.rows].sort((one, other) => (one.key < other.key ? 1 : -1)) : report.rows;
    $('rows').replaceChildren(...rows.map((line) => row(line, many)));
    bars(isTime ? rows.slice(0, BARS).reverse() : report.rows);
  }

  // ---- what is asked

  // The field is in the reader's time, the question and the address in UTC; '' for now.
  function moment() {
    if ($('definition').value) return '';
    const at = new Date($('moment').value);
    return Number.isNaN(at.getTime()) ? '' : at.toISOString();
  }
  function setMoment(text) {
    const at = new Date(text || NaN);
    if (Number.isNaN(at.getTime())) {
      $('moment').value = '';
      return;
    }
    const local = new Date(at.getTime() - at.getTimezoneOffset() * 60000);
    $('moment').value = local.toISOString().slice(0, 19);
  }
  function parameters() {
    const made = new URLSearchParams({ model: $('model').value, group_by: $('by').value });
    if ($('definition').value) made.set('definition', $('definition').value);
    else made.set('basis', $('basis').value);
    if ($('range').value !== 'all') made.set('days', $('range').value);
    if (moment()) made.set('as_of', moment());
    return made;
  }
  function path() {
    const made = parameters();
    if ($('view').value === 'one') return `/v1/attribution/report?${made}`;
    made.set('compare_to', made.get('model'));
    made.delete('model');
    return `/v1/attribution/models/compare?${made}`;
  }
  function restore() {
    const from = new URLSearchParams(location.search);
    knowDefinition(from.get('definition'));
    for (const [id, standard] of Object.entries(FIELDS)) {
      $(id).value = from.get(id) || standard;
      if (!$(id).value) $(id).value = standard;
    }
    setMoment(from.get('as_of'));
    offer();
  }
  // The address may name one before the list of all has come.
  function knowDefinition(name) {
    if (!name || Array.from($('definition').options).some((one) => one.value === name)) return;
    $('definition').append(new Option(name, name));
  }
  // Offers what the kind of conversions can be asked; what was chosen and cannot goes back to the standard.
  function offer() {
    const isRun = Boolean($('definition').value);
    for (const one of $('model').options) one.hidden = one.disabled = 'run' in one.dataset && !isRun;
    for (const one of $('by').options) one.hidden = one.disabled = isRun && !RUN_KEYS.includes(one.value);
    for (const id of ['model', 'by']) if ($(id).selectedOptions[0].disabled) $(id).value = FIELDS[id];
    for (const id of ['basis', 'moment']) $(id).disabled = isRun;
  }
  function changed() {
    offer();
    const state = new URLSearchParams();
    for (const [id, standard] of Object.entries(FIELDS)) if ($(id).value !== standard) state.set(id, $(id).value);
    if (moment()) state.set('as_of', moment());
    remember(state, false);
    ask();
  }
  function ask() {
    const asked = parameters();
    asked.set('format', 'csv');
    $('csv').href = `/v1/attribution/report?${asked}`;
    clearTimeout(retry);
    if (socket) {
      socket.onclose = null;
      socket.close();
    }
    load();
    connect();
  }

  // ---- the connection

  const state = (key, text) => {
    if ($('live-state').textContent === text) return;
    $('live-state').dataset.state = key;
    $('live-state').textContent = text;
  };
  async function load() {
    const asked = path();
    try {
      const report = await (await answer(asked)).json();
      if (asked === path()) show(report);
      if (polling) state('polling', 'Polling');
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      if (refusal.status === 0) state('down', 'Disconnected');
      refuse($('refusal'), refusal);
      if (shown) board.dataset.state = 'stale';
    }
  }
  function connect() {
    const asked = parameters();
    if ($('view').value === 'compare') asked.set('compare', '1');
    const address = new URL(`/v1/live/campaigns?${asked}`, location.href);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const mine = new WebSocket(address);
    socket = mine;
    let watchdog = 0;
    const watch = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => mine.close(), STALE_MILLISECONDS);
    };
    watch();
    mine.onmessage = (event) => {
      watch();
      attempts = 0;
      clearInterval(polling);
      polling = 0;
      if (socket === mine) show(JSON.parse(event.data));
      state('live', 'Live');
    };
    mine.onclose = () => {
      clearTimeout(watchdog);
      attempts += 1;
      if (!polling) {
        state('waiting', 'Reconnecting');
        polling = setInterval(load, POLL_MILLISECONDS);
      }
      retry = setTimeout(connect, Math.min(1000 * 2 ** (attempts - 1), BACK_OFF_MAX_MILLISECONDS));
    };
  }

  // ---- import

  function imported(reply) {
    const parts = [`${number(reply.inserted)} inserted`, `${number(reply.replaced)} replaced`,
      `${number(reply.unchanged)} unchanged`];
    if (reply.unmatched_count) parts.push(`${number(reply.unmatched_count)} campaigns without a match`);
    $('imported').textContent = `${parts.join(', ')}.`;
  }
  $('import').addEventListener('submit', async (submit) => {
    submit.preventDefault();
    const [file] = $('file').files;
    if (!file) return;
    $('imported').textContent = 'Importing…';
    try {
      imported(await (await answer('/v1/spend', {
        method: 'POST', headers: { 'Content-Type': 'text/csv' }, body: file })).json());
      $('import').reset();
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      const { problems } = refusal.problem || {};
      const list = element('ul');
      for (const one of (problems || []).slice(0, 20)) {
        list.append(element('li', '', `Line ${one.line}${one.column ? `, ${one.column}` : ''}: ${one.reason}`));
      }
      $('imported').replaceChildren(element('span', '', refusal.message), list);
    }
  });

  // ---- conversions of the event log

  const LOG_POLLS_MAX = 900;
  let computed = {};
  function logRows(report) {
    const result = report.result;
    $('log-by-name').textContent = $('log-by').selectedOptions[0].textContent;
    $('log-rows').replaceChildren(...report.lines.map((line) => {
      const made = element('tr');
      const first = element('th', '', line.key === '(organic)' || line.key === 'organic' ? 'No touch known' : line.key);
      first.scope = 'row';
      made.append(first, cell(number(line.conversions)),
        cell(line.currency ? money(line.net_minor, line.currency) : '—'));
      return made;
    }));
    $('log-table').hidden = report.lines.length === 0;
    if (report.lines.length === 0) {
      $('log-note').textContent = `No event in the log is this conversion; version ${result.version}.`;
      return;
    }
    const unmatched = result.facts.unmatched_refunds;
    $('log-note').textContent = `${number(result.facts.conversions)} conversions, ${number(result.facts.organic)} of them `
      + `without a touch${result.facts.refunds ? `; ${number(result.facts.refunds)} refunds found their order` : ''}`
      + `${unmatched ? `; ${number(unmatched)} refunds are of no known order` : ''}; version ${result.version} of ${new Date(result.finished_at).toLocaleString('en-US')}`;
  }
  async function logReport() {
    const name = $('log-conversion').value;
    const isKnown = Boolean(computed[name]);
    $('log-table').hidden = !isKnown;
    if (!isKnown) {
      $('log-note').textContent = 'Not computed yet.';
      return;
    }
    const asked = new URLSearchParams({
      conversion: name, model: $('log-model').value, group_by: $('log-by').value });
    try {
      logRows(await (await answer(`/v1/attribution/log-report?${asked}`)).json());
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      $('log-table').hidden = true;
      $('log-state').textContent = refusal.message;
    }
  }
  async function logResults() {
    const { runs } = await (await answer('/v1/attribution/runs?limit=1000')).json();
    computed = {};
    for (const run of [...runs].reverse()) computed[run.conversion] = run;
    return runs;
  }
  async function logStart() {
    try {
      const { conversions } = await (await answer('/v1/attribution/conversions')).json();
      $('log-conversion').replaceChildren(...conversions.map((one) => new Option(one.name, one.name)));
      for (const one of conversions) knowDefinition(one.name);
      await logResults();
      const first = conversions.find((one) => computed[one.name]) || conversions.find((one) => one.name === 'purchase');
      if (first) $('log-conversion').value = first.name;
      await logReport();
    } catch (refusal) {
      if (refusal.name !== 'AbortError') $('log-state').textContent = refusal.message;
    }
  }
  // The run of a job bears the job's id: it is done when its result is there.
  async function logWait(job, polls) {
    try {
      const runs = await logResults();
      if (runs.some((run) => run.run === job)) {
        $('log-state').textContent = '';
        await logReport();
      } else if (polls < LOG_POLLS_MAX) {
        setTimeout(() => logWait(job, polls + 1), POLL_MILLISECONDS);
      } else {
        $('log-state').textContent = 'Still at work; the page Jobs says how far it is.';
      }
    } catch (refusal) {
      if (refusal.name !== 'AbortError') $('log-state').textContent = refusal.message;
    }
  }
  $('log-wish').addEventListener('submit', async (submit) => {
    submit.preventDefault();
    $('log-state').textContent = 'At work…';
    try {
      const body = { conversion: $('log-conversion').value, reason: 'asked on the page' };
      const reply = await answer('/v1/attribution/recompute', {
        method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
      await logWait((await reply.json()).job, 0);
    } catch (refusal) {
      if (refusal.name !== 'AbortError') $('log-state').textContent = refusal.message;
    }
  });
  for (const id of ['log-conversion', 'log-model', 'log-by']) $(id).addEventListener('change', logReport);

  $('wish').addEventListener('submit', (submit) => submit.preventDefault());
  for (const id of [...Object.keys(FIELDS), 'moment']) $(id).addEventListener('change', changed);
  window.addEventListener('popstate', () => {
    restore();
    ask();
  });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    if (chart) chart.destroy();
    chart = null;
    if (shown) show(shown);
  });
  restore();
  ask();
  logStart();
})();
