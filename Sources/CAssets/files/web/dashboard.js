// The dashboard: one document, pushed about once a second over /v1/live, polled from /v1/overview while that is down.
(() => {
  'use strict';
  const $ = (id) => document.getElementById(id);
  const board = $('board');
  const pill = $('live-state');
  const alertLine = $('board-alert');
  const POLL_MILLISECONDS = 2000;
  const STALE_MILLISECONDS = 15000;
  const BACK_OFF_MAX_MILLISECONDS = 20000;
  const LEAD_STATES = ['sold', 'unsold', 'disqualified', 'open', 'other'];

  let currency = 'USD';
  let lastAt = 0;
  let attempts = 0;
  let polling = 0;
  let known = null;               // lead id -> state, to announce what is new
  const charts = {};

  const element = (name, className, text) => {
    const made = document.createElement(name);
    if (className) made.className = className;
    if (text !== undefined && text !== null) made.textContent = text;
    return made;
  };
  const count = new Intl.NumberFormat('en-US');
  const money = (minor) => {
    const format = new Intl.NumberFormat('en-US', { style: 'currency', currency });
    return format.format(minor / 10 ** format.resolvedOptions().maximumFractionDigits);
  };
  const rate = (value) => new Intl.NumberFormat('en-US', { maximumFractionDigits: value < 100 ? 1 : 0 }).format(value);
  const clock = (text, seconds = true) => new Date(text).toLocaleTimeString('en-US', {
    hour: '2-digit', minute: '2-digit', second: seconds ? '2-digit' : undefined, hour12: false,
  });
  const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const put = (name, text) => {
    const target = document.querySelector(`[data-figure="${name}"]`);
    if (target.textContent !== text) target.textContent = text;
  };
  const words = (name) => String(name || '').replace(/([a-z])([A-Z])/g, '$1 $2').replace(/_/g, ' ').toLowerCase();
  const title = (name) => words(name).replace(/^./, (first) => first.toUpperCase());
  // "(none)" and "(organic)" are the words of the report for what a touch does not name.
  const named = (text) => (text === '(none)' || !text ? '' : text.replace(/^\((\w+)\)$/, (_, word) => title(word)));

  // ---- tiles

  function tiles(view) {
    put('events-rate', rate(view.events.per_second));
    put('events-total', count.format(view.events.total));
    put('talks-started', count.format(view.conversations.started));
    put('talks-open', count.format(view.conversations.open));
    put('talks-qualified', count.format(view.conversations.qualified));
    put('leads-total', count.format(view.leads.total));
    // Every lead is in exactly one of these, so that they add up to the total.
    for (const part of LEAD_STATES) put(`leads-${part}`, count.format(view.leads[part]));
    put('leads-sold-2', count.format(view.leads.sold));
    put('leads-unknown', count.format(view.leads.unknown));
    $('leads-waiting').hidden = view.leads.unknown === 0;
    put('revenue-booked', money(view.revenue.booked_minor));
    put('revenue-recognised', money(view.revenue.recognised_minor));
    put('revenue-per-lead', view.leads.sold ? money(Math.round(view.revenue.booked_minor / view.leads.sold)) : '—');
    const split = $('leads-split');
    if (!split.childElementCount) LEAD_STATES.forEach((part) => split.append(element('i', part)));
    for (const part of split.children) part.style.setProperty('--part', view.leads[part.className]);
  }

  // ---- charts and the tables that say the same

  const axis = () => ({ color: token('--ink-3'), font: { family: token('--font'), size: 12 } });
  function paint(name, canvas, build) {
    if (!window.Chart) return null;
    if (!charts[name]) charts[name] = new Chart($(canvas), build());
    return charts[name];
  }
  function rateChart(series) {
    const chart = paint('rate', 'rate-chart', () => ({
      type: 'line',
      data: {
        labels: [],
        datasets: [{ data: [], fill: true, borderWidth: 2, pointRadius: 0, pointHitRadius: 12, tension: 0.25 }],
      },
      options: {
        animation: false, maintainAspectRatio: false, interaction: { mode: 'index', intersect: false },
        plugins: { legend: { display: false }, tooltip: { displayColors: false } },
        scales: {
          x: { grid: { display: false }, ticks: { maxRotation: 0, autoSkip: true, autoSkipPadding: 28 } },
          y: { beginAtZero: true, suggestedMax: 5, ticks: { maxTicksLimit: 4, precision: 0 } },
        },
      },
    }));
    if (chart) {
      const line = token('--first');
      const wash = chart.ctx.createLinearGradient(0, 0, 0, chart.height || 200);
      wash.addColorStop(0, `${line}55`);
      wash.addColorStop(1, `${line}08`);
      const data = series.map((point) => point.count);
      Object.assign(chart.data.datasets[0], { data, borderColor: line, backgroundColor: wash });
      chart.data.labels = series.map((point) => clock(point.at));
      tint(chart);
      chart.update();
    }
    const rows = [];
    for (let start = 0; start < series.length; start += 10) {
      const row = element('tr');
      const sum = series.slice(start, start + 10).reduce((total, point) => total + point.count, 0);
      row.append(element('td', '', clock(series[start].at)), element('td', 'num', count.format(sum)));
      rows.push(row);
    }
    $('rate-table').replaceChildren(...rows);
  }
  function tint(chart) {
    for (const scale of Object.values(chart.options.scales)) {
      Object.assign(scale.ticks, axis());
      scale.grid.color = token('--grid');
      scale.grid.borderColor = token('--line');
    }
  }
  function campaignRows(attribution) {
    const rows = new Map();
    for (const [side, model] of [['first', 'first'], ['last', $('campaign-model').value]]) {
      for (const line of attribution[model] || []) {
        const key = JSON.stringify([line.campaign, line.source, line.medium, line.channel]);
        const row = rows.get(key) || { ...line, first: 0, last: 0, firstSales: 0, lastSales: 0 };
        row[side] += line.revenue_minor;
        row[`${side}Sales`] += line.sales;
        rows.set(key, row);
      }
    }
    return Array.from(rows.values()).sort((a, b) => Math.max(b.first, b.last) - Math.max(a.first, a.last));
  }
  const nameOf = (row) => named(row.campaign) || named(row.source) || title(row.channel || 'direct');
  let lastAttribution = {};
  function campaigns(attribution) {
    lastAttribution = attribution;
    const chosen = $('campaign-model').selectedOptions[0].textContent.replace(/^./, (first) => first.toUpperCase());
    $('campaign-model-name').textContent = chosen;
    const rows = campaignRows(attribution);
    $('campaign-empty').hidden = rows.length > 0;
    document.querySelector('.campaigns').hidden = rows.length === 0;
    if (!rows.length) return;
    $('campaign-table').replaceChildren(...rows.map((row) => {
      const line = element('tr');
      const name = element('td', '', nameOf(row));
      const from = [named(row.source), named(row.medium)].filter(Boolean).join(' / ');
      if (from && from !== nameOf(row)) name.append(element('small', '', from));
      const cell = (minor, sales) => {
        const made = element('td', 'num', money(minor));
        made.append(element('small', '', `${count.format(sales)} ${sales === 1 ? 'sale' : 'sales'}`));
        return made;
      };
      const gap = row.last - row.first;
      const difference = gap === 0 ? '—' : (gap > 0 ? '+' : '−') + money(Math.abs(gap));
      line.append(name, element('td', 'wide', title(row.channel)), cell(row.first, row.firstSales),
        cell(row.last, row.lastSales), element('td', 'num wide', difference));
      return line;
    }));
    const top = rows.slice(0, 8);
    const chart = paint('campaigns', 'campaign-chart', () => ({
      type: 'bar',
      data: { labels: [], datasets: ['First touch', 'Last touch'].map((label) => ({
        label, data: [], borderRadius: 3, barThickness: 15, barPercentage: 0.9 })) },
      options: {
        indexAxis: 'y', animation: false, maintainAspectRatio: false,
        interaction: { mode: 'index', axis: 'y', intersect: false },
        plugins: {
          legend: { display: false },
          tooltip: { callbacks: { label: (item) => `${item.dataset.label}: ${money(item.raw)}` } },
        },
        scales: {
          x: {
            beginAtZero: true, grid: {},
            ticks: { maxRotation: 0, callback: (value) => money(value).replace(/\.00$/, '') },
          },
          y: { grid: { display: false }, ticks: { autoSkip: false } },
        },
      },
    }));
    if (!chart) return;
    const room = chart.width < 420 ? 16 : 24;
    const short = (name) => (name.length > room ? `${name.slice(0, room - 1)}…` : name);
    chart.options.scales.x.ticks.maxTicksLimit = chart.width < 420 ? 3 : 6;
    chart.data.labels = top.map((row) => short(nameOf(row)));
    chart.data.datasets[1].label = chosen;
    chart.data.datasets.forEach((set, index) => {
      set.data = top.map((row) => (index ? row.last : row.first));
      set.backgroundColor = token(index ? '--last' : '--first');
    });
    tint(chart);
    $('campaign-chart').parentElement.style.minHeight = `${Math.max(220, top.length * 46 + 40)}px`;
    chart.update();
  }

  $('campaign-model').onchange = () => campaigns(lastAttribution);

  // ---- leads

  function leadRow(lead, fresh) {
    const row = element('tr', fresh ? 'fresh' : '');
    const when = element('td', 'wide');
    const time = element('time', '', clock(lead.created_at));
    time.dateTime = lead.created_at;
    when.append(time);
    const kind = element('td', '', title(lead.type));
    kind.append(element('small', 'wide', String(lead.id).slice(-8)),
      element('small', 'narrow', lead.borough || lead.zip || ''));
    const place = element('td', 'wide', lead.borough || '—');
    if (lead.zip) place.append(element('small', '', lead.zip));
    const score = element('td');
    const meter = element('span', 'meter');
    meter.setAttribute('aria-hidden', 'true');
    const bar = element('i');
    bar.style.setProperty('--part', `${lead.score}%`);
    meter.append(bar);
    score.append(meter, String(lead.score));
    const tier = element('td', 'wide');
    const badge = element('span', 'tier', title(lead.tier));
    badge.dataset.tier = lead.tier;
    tier.append(badge);
    const state = element('td');
    const status = element('span', 'state', title(lead.state));
    status.dataset.state = lead.state;
    state.append(status);
    const price = element('td', 'num');
    if (lead.leg && lead.price_minor > 0) {
      const link = element('a', lead.state === 'sold' ? 'price' : 'price open', money(lead.price_minor));
      link.href = `/explain/${encodeURIComponent(lead.leg)}`;
      link.setAttribute('aria-label', `${money(lead.price_minor)}, explain this dollar`);
      price.append(link);
    } else {
      price.append(element('span', 'muted', '—'));
    }
    row.append(when, kind, place, score, tier, state, element('td', 'wide', named(lead.campaign) || 'No campaign'),
      element('td', 'wide', lead.buyer || '—'), price);
    return row;
  }
  function leads(recent) {
    $('lead-empty').hidden = recent.length > 0;
    document.querySelector('.leads').hidden = recent.length === 0;
    const signature = JSON.stringify(recent);
    if (leads.signature === signature) return;
    leads.signature = signature;
    const active = document.activeElement;
    const focused = active && active.matches('.price') ? active.getAttribute('href') : null;
    $('lead-table').replaceChildren(...recent.map((lead) => leadRow(lead, known && known.get(lead.id) !== lead.state)));
    if (focused) {
      const links = Array.from(document.querySelectorAll('.price'));
      const again = links.find((link) => link.getAttribute('href') === focused);
      if (again) again.focus();
    }
    if (known) {
      const sold = recent.filter((lead) => lead.state === 'sold' && known.get(lead.id) !== 'sold');
      if (sold.length) {
        $('board-news').textContent = sold.length === 1
          ? `New sale: ${money(sold[0].price_minor)} from ${sold[0].buyer || 'a buyer'}.`
          : `${sold.length} new sales.`;
      }
    }
    known = new Map(recent.map((lead) => [lead.id, lead.state]));
  }
  function fallbacks(list) {
    $('fallbacks').hidden = !(list && list.length);
    $('fallback-list').replaceChildren(...(list || []).map((text) => element('li', '', text)));
  }

  function show(view) {
    lastAt = Date.now();
    currency = view.currency || currency;
    board.dataset.state = 'ready';
    board.removeAttribute('aria-busy');
    $('as-of').textContent = clock(view.as_of);
    $('as-of').dateTime = view.as_of;
    tiles(view);
    rateChart(view.events.series || []);
    campaigns(view.attribution || {});
    leads(view.leads.recent || []);
    fallbacks(view.fallbacks);
  }

  // ---- the connection

  const state = (name, text) => {
    if (pill.textContent === text) return;
    pill.dataset.state = name;
    pill.textContent = text;
  };
  const trouble = (text) => {
    alertLine.hidden = !text;
    if (alertLine.textContent !== (text || '')) alertLine.textContent = text || '';
  };
  function fresh(name, text) {
    state(name, text);
    trouble('');
  }
  async function poll() {
    try {
      const answer = await fetch('/v1/overview', { headers: { Accept: 'application/json' } });
      if (answer.status === 401 || answer.status === 403) {
        location.assign('/login?next=/dashboard');
        return;
      }
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      show(await answer.json());
      fresh('polling', 'Polling');
    } catch {
      state('down', 'Disconnected');
      if (Date.now() - lastAt > STALE_MILLISECONDS || !lastAt) {
        if (lastAt) board.dataset.state = 'stale';
        trouble(lastAt
          ? 'The server does not answer. These figures are the last ones received.'
          : 'The server does not answer yet. Trying again.');
      }
    }
  }
  function connect() {
    const address = new URL('/v1/live', location.href);
    address.protocol = location.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(address);
    let watchdog = 0;
    const watch = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => socket.close(), STALE_MILLISECONDS);
    };
    watch();
    socket.onmessage = (event) => {
      watch();
      attempts = 0;
      clearInterval(polling);
      polling = 0;
      show(JSON.parse(event.data));
      fresh('live', 'Live');
    };
    socket.onclose = () => {
      clearTimeout(watchdog);
      attempts += 1;
      if (!polling) {
        state('waiting', 'Reconnecting');
        polling = setInterval(poll, POLL_MILLISECONDS);
        poll();
      }
      setTimeout(connect, Math.min(1000 * 2 ** (attempts - 1), BACK_OFF_MAX_MILLISECONDS));
    };
  }
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    for (const name of Object.keys(charts)) {
      charts[name].destroy();
      delete charts[name];
    }
  });
  connect();
})();
