// The explorer: fields make a question in the text language, the answer is a chart and a table.
(() => {
  'use strict';
  const {
    $, element, zone, answer, post, asker, refuse, quote, column, test, event, typeChoice, filterRows,
    count, money, plural, facts, token, colour, remember, ...shared
  } = window.aurumQuestions;
  const CHART_GROUPS_MAX = 8;
  const CHART_POINTS_MAX = 2000;
  const TABLE_ROWS_MAX = 500;
  const FIELDS = ['type', 'name', 'measure', 'of', 'by', 'bucket', 'draw'];
  const DEFAULTS = { measure: 'count', of: 'value', bucket: 'auto', draw: 'line' };
  const AUTO = { '1h': 'minute', '24h': 'hour', '7d': 'day', '30d': 'day' };
  const ask = asker('/v1/query');
  const range = shared.range();
  const filters = filterRows($('filters'), () => run());
  let timezone = zone;
  let chart = null;
  let last = null;                // the answer on show
  let edited = false;

  // ---- the question

  function bucket() {
    const chosen = $('bucket').value;
    if (chosen !== 'auto') return chosen === 'none' ? '' : chosen;
    if ($('range').value !== 'custom') return AUTO[$('range').value];
    const { from, to } = range.members();
    const days = from ? ((to ? Date.parse(to) : Date.now()) - Date.parse(from)) / 864e5 : 100;
    return days <= 0.1 ? 'minute' : days <= 4 ? 'hour' : days <= 92 ? 'day' : 'month';
  }
  function written() {
    const of = column($('of').value.trim() || 'value');
    const measure = {
      count: 'count', persons: 'unique(person)', sum: `sum(${of})`, avg: `avg(${of})`,
      p95: `quantile(0.95, ${of}) as p95`,
    }[$('measure').value];
    const where = [...event($('type').value, $('name').value.trim()), ...filters.read().map(test)];
    const by = $('by').value.split(',').map((path) => path.trim()).filter(Boolean).map(column);
    const { last: span, from, to } = range.members();
    return [
      measure,
      where.length ? `where ${where.join(' and ')}` : '',
      by.length ? `by ${by.join(', ')}` : '',
      bucket() ? `per ${bucket()}` : '',
      span ? `last ${span}` : from ? `from ${quote(from)}${to ? ` to ${quote(to)}` : ''}` : '',
      timezone === 'UTC' ? '' : `in ${quote(timezone)}`,
    ].filter(Boolean).join(' ');
  }
  function state() {
    const made = new URLSearchParams();
    if (edited) {
      made.set('q', $('q').value.trim());
      if ($('draw').value !== DEFAULTS.draw) made.set('draw', $('draw').value);
      return made;
    }
    for (const name of FIELDS) {
      const value = $(name).value.trim();
      if (value && value !== DEFAULTS[name] && (name !== 'of' || !$('of-field').hidden)) made.set(name, value);
    }
    for (const row of filters.read()) made.append('filter', JSON.stringify([row.column, row.op, row.value]));
    range.write(made);
    made.set('tz', timezone);
    return made;
  }
  function load() {
    const from = new URLSearchParams(location.search);
    for (const name of FIELDS) $(name).value = from.get(name) || DEFAULTS[name] || '';
    for (const name of ['type', 'measure', 'bucket', 'draw']) if (!$(name).value) $(name).selectedIndex = 0;
    timezone = from.get('tz') || zone;
    range.put(from);
    filters.put(from.getAll('filter').flatMap((text) => {
      try {
        const [path, op, value] = JSON.parse(text);
        return [{ column: String(path), op: String(op), value: String(value) }];
      } catch { return []; }
    }));
    edited = from.has('q');
    show();
    $('q').value = edited ? from.get('q') : written();
  }
  function show() {
    $('of-field').hidden = !['sum', 'avg', 'p95'].includes($('measure').value);
    $('q-edited').hidden = !edited;
    const rows = Math.min(6, Math.max(2, Math.ceil($('q').value.length / 90)));
    $('q').rows = rows;
  }

  // ---- asking

  async function run(replace = false) {
    if (!edited) $('q').value = written();
    show();
    remember(state(), replace);
    const q = $('q').value.trim();
    $('explorer').setAttribute('aria-busy', 'true');
    try {
      last = await ask({ q });
      $('refusal').hidden = true;
      $('q').removeAttribute('aria-invalid');
      paint(last);
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      if (refusal.status === 400) $('q').setAttribute('aria-invalid', 'true');
      refuse($('refusal'), refusal, q);
      for (const part of ['result', 'rows', 'nothing']) $(part).hidden = true;
      if (!refusal.problem) throw refusal;
    }
    $('explorer').removeAttribute('aria-busy');
  }

  // ---- the answer

  const groupsOf = (reply) => reply.columns.filter((each) => each.kind === 'group');
  const measuresOf = (reply) => reply.columns.filter((each) => !['group', 'bucket'].includes(each.kind));
  const label = (value) => ((value ?? null) === null ? '(none)' : value === '' ? '(empty)' : String(value));
  function words(value, kind) {
    if (value === null || value === undefined) return '—';
    if (kind !== 'money') return typeof value === 'number' ? count.format(value) : String(value);
    const sums = Object.entries(value).map(([currency, amount]) => money(amount, currency));
    return sums.length ? sums.join('\n') : '—';
  }
  const isZero = (value) => !value || (typeof value === 'object' && !Object.keys(value).length);
  const isNothing = (reply) => reply.rows.every((row) => !groupsOf(reply).length && !('bucket' in row)
    && measuresOf(reply).every(({ name }) => isZero(row[name])));

  function paint(reply) {
    const empty = isNothing(reply);
    $('nothing').hidden = !empty;
    $('result').hidden = empty;
    $('rows').hidden = empty;
    if (empty) {
      nothing(reply);
      return;
    }
    facts($('facts'), reply);
    table(reply);
    draw(reply);
    $('news').textContent = `${plural(reply.row_count, 'row', 'rows')}.`;
  }
  async function nothing(reply) {
    $('nothing-text').textContent = 'Take a longer range, another event or fewer filters. Bots are left out unless the '
      + `text says “bots include”. ${plural(reply.rows_scanned, 'row was', 'rows were')} looked at.`;
    $('sample').hidden = true;
    try {
      const { events } = await (await answer('/v1/events?limit=1')).json();
      if (events.length) return;
      $('nothing-title').textContent = 'No events yet';
      $('nothing-text').textContent = 'Send the first one, with a key that has the scope events:write, then ask again:';
      $('sample').textContent = `curl ${location.origin}/v1/events -H 'Authorization: Bearer KEY' \\\n`
        + "  -H 'Content-Type: application/json' \\\n"
        + "  -d '{\"id\": \"first\", \"type\": \"page\", \"url\": \"https://example.com/\", \"user_id\": \"ana\"}'";
      $('sample').hidden = false;
    } catch { /* what is said above stays true */ }
  }
  function table(reply) {
    const head = element('tr');
    const isNumber = ({ kind }) => !['group', 'bucket'].includes(kind);
    head.append(...reply.columns.map((each) => {
      const cell = element('th', isNumber(each) ? 'num' : '', each.kind === 'bucket' ? 'time' : each.name);
      cell.scope = 'col';
      return cell;
    }));
    $('head').replaceChildren(head);
    $('body').replaceChildren(...reply.rows.slice(0, TABLE_ROWS_MAX).map((row) => {
      const line = element('tr');
      line.append(...reply.columns.map((each) => {
        if (isNumber(each)) return element('td', 'num', words(row[each.name], each.kind));
        return element('td', '', each.kind === 'bucket' ? row.bucket.replace('T', ' ') : label(row[each.name]));
      }));
      return line;
    }));
    const shown = Math.min(reply.rows.length, TABLE_ROWS_MAX);
    const all = plural(reply.row_count, 'row', 'rows');
    const notes = [shown < reply.rows.length ? `first ${count.format(shown)} of ${all}` : all];
    const groups = plural(reply.group_count, 'group', 'groups');
    if (reply.truncated) notes.push(`${groups} in all: write “limit 10000” to have more, or take a larger bucket`);
    $('row-note').textContent = `${notes.join('; ')}.`;
  }

  // ---- the chart: the first measure, by the largest groups

  function number(value, currency) {
    if (value === null || value === undefined) return null;
    return typeof value === 'object' ? (currency in value ? Number(value[currency]) : null) : Number(value);
  }
  // The currency of the most rows; of the larger sum when as many have another.
  function commonest(reply, name) {
    const uses = {};
    for (const row of reply.rows) {
      for (const [key, amount] of Object.entries(row[name] || {})) {
        uses[key] = uses[key] || [0, 0];
        uses[key][0] += 1;
        uses[key][1] += Number(amount);
      }
    }
    return Object.keys(uses).sort((a, b) => uses[b][0] - uses[a][0] || uses[b][1] - uses[a][1]);
  }
  // Rows that a limit cut off are not known. In the order of time everything before the last bucket came, and nothing
  // is known after it; in any other order a missing row may be anywhere.
  function lastWhole(reply, points) {
    if (!reply.truncated) return points.length;
    if (/\border\b/i.test($('q').value)) return 0;
    const last = reply.rows[reply.rows.length - 1].bucket;
    return points.findIndex(({ key }) => key === last);
  }
  // All buckets from the first to the last moment asked about, so that a quiet day is a zero and not a gap; of an
  // answer that was cut, from the first to the last that came.
  function axis(reply) {
    const seen = [...new Set(reply.rows.map((row) => row.bucket))];
    if (!seen.length) return [];
    const points = reply.truncated ? axisOf({ ...reply, from: null }, seen) : axisOf(reply, seen);
    if (!reply.truncated) return points;
    const known = new Set(seen);
    const bounds = points.map(({ key }) => known.has(key));
    return points.slice(bounds.indexOf(true), bounds.lastIndexOf(true) + 1);
  }
  function axisOf(reply, seen) {
    const end = Math.min(Date.parse(reply.to || reply.as_of), Date.parse(reply.as_of));
    if (seen[0].length > 10) {
      const hours = seen.every((each) => /T\d\d:00:00/.test(each)) && !/per minute/i.test($('q').value);
      const step = hours ? 3600000 : 60000;
      const byTime = new Map(seen.map((each) => [Date.parse(each), each]));
      const first = Math.min(...byTime.keys());
      const from = reply.from ? Math.max(Date.parse(reply.from), end - CHART_POINTS_MAX * step) : first;
      for (let at = first - Math.max(0, Math.floor((first - from) / step)) * step; at < end; at += step) {
        if (!byTime.has(at)) byTime.set(at, at);
      }
      return [...byTime].sort((a, b) => a[0] - b[0]).map(([at, key]) => ({ key, text: clock(at) }));
    }
    const day = (instant) => new Intl.DateTimeFormat('en-CA', { timeZone: reply.timezone }).format(instant);
    const dates = seen.map((each) => new Date(each)).sort((a, b) => a - b);
    const isMonthly = /per month/i.test($('q').value);
    const isWeekly = /per week/i.test($('q').value);
    const at = new Date(dates[0]);
    const forward = (count) => (isMonthly ? at.setUTCMonth(at.getUTCMonth() + count)
      : at.setUTCDate(at.getUTCDate() + count * (isWeekly ? 7 : 1)));
    const start = reply.from ? day(new Date(reply.from)) : seen[0];
    for (let moved = 0; moved < CHART_POINTS_MAX && at.toISOString().slice(0, 10) > start; moved += 1) forward(-1);
    const stop = day(new Date(end - 1));
    const shape = { timeZone: 'UTC', month: 'short', ...(isMonthly ? { year: 'numeric' } : { day: 'numeric' }) };
    const made = [];
    for (; made.length < CHART_POINTS_MAX && at.toISOString().slice(0, 10) <= stop; forward(1)) {
      const key = at.toISOString().slice(0, 10);
      made.push({ key, text: at.toLocaleDateString('en-US', shape) });
    }
    return made;
  }
  const clock = (at) => new Date(at).toLocaleString('en-US', {
    timeZone: last.timezone, month: 'short', day: 'numeric', hour: '2-digit', minute: '2-digit', hour12: false,
  });
  function series(reply) {
    const groups = groupsOf(reply);
    const [measure] = measuresOf(reply);
    const currencies = measure.kind === 'money' ? commonest(reply, measure.name) : [];
    const of = (row) => (groups.length ? groups.map(({ name }) => label(row[name])).join(' · ') : measure.name);
    const names = new Map();
    for (const row of reply.rows) {
      names.set(of(row), (names.get(of(row)) || 0) + Math.abs(number(row[measure.name], currencies[0]) || 0));
    }
    const largest = [...names].sort((a, b) => b[1] - a[1]).map(([name]) => name);
    return { groups, measure, currencies, of, largest };
  }
  function draw(reply) {
    const { groups, measure, currencies, of, largest } = series(reply);
    const notes = [];
    if (currencies.length > 1) notes.push(`Drawn in ${currencies[0]} only; the table has every currency.`);
    if (measuresOf(reply).length > 1) notes.push(`Drawn: ${measure.name}; the table has the rest.`);
    const hasTime = reply.columns.some(({ kind }) => kind === 'bucket');
    const shown = largest.slice(0, hasTime ? CHART_GROUPS_MAX : 20);
    const all = count.format(largest.length);
    if (shown.length < largest.length) {
      notes.push(`The ${shown.length} largest of ${all} groups${reply.truncated ? ' that came' : ''}.`);
    }
    if (reply.truncated) {
      const rows = `${count.format(reply.row_count)} of ${count.format(reply.group_count)}`;
      notes.push(`The answer was cut after ${rows} rows: ${hasTime ? 'points that are missing are' : 'the rest is'} `
        + 'not known.');
    }
    $('chart-note').textContent = notes.join(' ');
    $('chart-note').hidden = !notes.length;
    const isFigure = !hasTime && !groups.length;
    $('figure').hidden = !isFigure;
    $('plot').hidden = isFigure;
    if (isFigure) $('figure').textContent = words(reply.rows[0][measure.name], measure.kind);
    if (chart) chart.destroy();
    chart = null;
    if (isFigure || !window.Chart) return;
    const value = (row) => number(row[measure.name], currencies[0]);
    const unit = (amount) => (currencies.length ? money(amount, currencies[0]) : count.format(amount));
    $('plot').style.height = hasTime ? '' : `${Math.max(140, shown.length * 34 + 50)}px`;
    chart = new Chart($('chart'), hasTime ? overTime(reply, shown, of, value, unit, measure)
      : byGroup(reply, shown, of, value, unit, measure));
  }
  function overTime(reply, shown, of, value, unit, measure) {
    const points = axis(reply);
    const place = new Map(points.map((point, index) => [point.key, index]));
    const none = ['count', 'unique'].includes(measure.kind) || /^sum/.test(measure.name) ? 0 : null;
    const whole = lastWhole(reply, points);
    const isBar = $('draw').value === 'bar';
    const sets = shown.map((name, index) => ({
      label: name, data: points.map((_, at) => (at < whole ? none : null)), borderColor: colour(index),
      borderWidth: isBar ? 0 : 2, cubicInterpolationMode: 'monotone', backgroundColor: colour(index),
      // A point beside a gap has no line to be seen by.
      pointRadius: points.length > 60 && !reply.truncated ? 0 : 3, pointHitRadius: 12, spanGaps: !reply.truncated,
      maxBarThickness: 48,
    }));
    for (const row of reply.rows) {
      const set = sets[shown.indexOf(of(row))];
      if (set && place.has(row.bucket)) set.data[place.get(row.bucket)] = value(row);
    }
    const options = look(unit, 'y', shown.length > 1);
    options.scales.x.stacked = isBar;
    options.scales.y.stacked = isBar;
    return { type: isBar ? 'bar' : 'line', data: { labels: points.map(({ text }) => text), datasets: sets }, options };
  }
  function byGroup(reply, shown, of, value, unit, measure) {
    const rows = shown.map((name) => reply.rows.find((row) => of(row) === name));
    const short = (name) => (name.length > 32 ? `${name.slice(0, 31)}…` : name);
    const options = look(unit, 'x', false);
    options.indexAxis = 'y';
    return {
      type: 'bar', options,
      data: {
        labels: shown.map(short),
        datasets: [{
          label: measure.name, data: rows.map(value), backgroundColor: colour(0), borderRadius: 3, maxBarThickness: 22,
        }],
      },
    };
  }
  function look(unit, amounts, legend) {
    const said = ({ dataset, raw }) => `${dataset.label}: ${raw === null ? '—' : unit(raw)}`;
    const text = { color: token('--ink-3'), font: { family: token('--font'), size: 12 } };
    const other = amounts === 'y' ? 'x' : 'y';
    return {
      animation: false, maintainAspectRatio: false, interaction: { mode: 'index', axis: other, intersect: false },
      plugins: {
        legend: {
          display: legend, position: 'bottom',
          labels: { ...text, color: token('--ink-2'), boxWidth: 12, boxHeight: 12 },
        },
        tooltip: { callbacks: { label: said } },
      },
      scales: {
        [amounts]: {
          beginAtZero: true, grid: { color: token('--grid'), borderColor: token('--line') },
          ticks: { ...text, maxTicksLimit: 6, maxRotation: 0, callback: unit },
        },
        [other]: {
          grid: { display: false, borderColor: token('--line') },
          ticks: { ...text, maxRotation: 0, autoSkip: amounts === 'y', autoSkipPadding: 24 },
        },
      },
    };
  }

  // ---- downloads

  async function download(click, accept, name) {
    click.preventDefault();
    try {
      const file = await (await post('/v1/query', { q: $('q').value.trim() }, accept)).blob();
      const link = element('a');
      link.href = URL.createObjectURL(file);
      link.download = name;
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    } catch (refusal) {
      if (refusal.name !== 'AbortError') refuse($('refusal'), refusal, $('q').value.trim());
    }
  }

  $('type').replaceWith(Object.assign(typeChoice(''), { id: 'type' }));
  $('fields').addEventListener('change', (change) => {
    if (change.target.id === 'draw' && last) {
      remember(state(), true);
      if (!$('result').hidden) draw(last);
      return;
    }
    edited = false;
    run();
  });
  $('q').addEventListener('input', () => {
    edited = $('q').value.trim() !== written();
    show();
  });
  $('q').addEventListener('keydown', (press) => {
    if (press.key === 'Enter' && (press.ctrlKey || press.metaKey)) {
      press.preventDefault();
      run();
    }
  });
  $('ask').addEventListener('submit', (submit) => {
    submit.preventDefault();
    run();
  });
  $('add-filter').addEventListener('click', () => filters.add().focus());
  $('csv').addEventListener('click', (click) => download(click, 'text/csv', 'query.csv'));
  $('ndjson').addEventListener('click', (click) => download(click, 'application/x-ndjson', 'query.ndjson'));
  window.addEventListener('popstate', () => {
    load();
    run(true);
  });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => { if (chart) draw(last); });
  shared.suggestColumns();
  shared.suggestNames();
  load();
  run(true);
})();
