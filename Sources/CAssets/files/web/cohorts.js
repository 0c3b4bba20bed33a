// Cohorts: what people are worth over time, who comes back, saturation, budget advice and networks' claims. Budgets
// are in budgets.js.
(() => {
  'use strict';
  const { $, element, answer, refuse, remember, token, minorDigits, amount: money } = window.aurumQuestions;
  const FIELDS = { on: 'leads', period: 'week', by: 'campaign', model: 'last', range: '90', figure: 'ltv',
    campaign: '', result: 'conversions' };
  const STATES = {
    low: 'Low: more spend hardly makes a result dearer', efficient: 'Efficient: there is room',
    moderate: 'Moderate: results become dear', saturated: 'Saturated: more spend buys little',
    poor_fit: 'No curve: it would explain the days too badly', insufficient_data: 'Not enough data for a curve',
  };
  const MISSING = {
    days_with_spend: 'fewer than 14 days with spend and results', spend_range: 'daily spend hardly varies',
    results: 'fewer than 30 results', days_with_results: 'too many days with spend and no result',
    mixed_currencies: 'spend or sales in more than one currency',
  };
  const REASONS = {
    earns_more: 'earns well above target', earns_less: 'earns below target', near_target: 'near target',
    decided_today: 'decided today', no_spend: 'no spend on mature days', no_curve: 'no curve to raise on',
    saturated: 'saturated', uncertain: 'might miss the target', few_conversions: 'fewer than 30 conversions',
    mixed_currencies: 'spends or sells in more than one currency', at_cap: 'at its cap', over_cap: 'over its cap', at_floor: 'at its floor', too_small: 'too small to change',
  };
  const ACTIONS = { raise: 'Raise', lower: 'Lower', pause: 'Pause' };
  const ALERTS = { over_cap: 'a day went over 1.1 × the cap', no_conversion: '1,000 spent without a conversion' };
  let chart = null;
  let curve = null;
  let cohortReport = null;

  const count = new Intl.NumberFormat('en-US', { maximumFractionDigits: 2 });
  const share = new Intl.NumberFormat('en-US', { style: 'percent', maximumFractionDigits: 1 });
  const number = (value) => (value === null || value === undefined ? '—' : count.format(value));
  const times = (value) => (value === null || value === undefined ? '—' : `${count.format(value)}×`);
  const cell = (text, note) => {
    const made = element('td', 'num', text);
    if (note) made.append(element('small', '', note));
    return made;
  };
  const named = (text) => {
    const made = element('th', '', text);
    made.scope = 'row';
    return made;
  };
  // The style of a cell is set by script: the page's policy lets no style attribute through.
  const shade = (made, part) => {
    if (part > 0) {
      const strength = Math.round(10 + 45 * Math.min(1, part));
      made.style.background = `color-mix(in srgb, ${token('--c3')} ${strength}%, transparent)`;
    }
    return made;
  };

  // ---- cohorts

  function cohorts(report) {
    cohortReport = report;
    $('as-of').textContent = new Date(report.as_of).toLocaleTimeString('en-US', { hour12: false });
    $('by-name').textContent = $('by').selectedOptions[0].textContent;
    const isWorth = $('figure').value === 'ltv';
    const value = (one) => (isWorth ? one.ltv_minor : one.roas);
    const most = {};
    for (const row of report.rows) {
      for (const one of row.horizons) most[row.currency] = Math.max(most[row.currency] || 0, value(one) || 0);
    }
    const figures = (row) => row.horizons.map((one) => {
      const text = isWorth ? money(one.ltv_minor, row.currency) : times(one.roas);
      const made = cell(text + (one.mature === false && value(one) !== null ? ' *' : ''));
      return shade(made, (value(one) || 0) / (most[row.currency] || 1));
    });
    const rows = report.rows.map((row) => {
      const made = element('tr');
      made.append(named(row.start), element('td', '', row.key), cell(number(row.size)),
        cell(money(row.spend_minor, row.currency)), ...figures(row));
      return made;
    });
    for (const row of report.averages.filter((one) => one.key === null)) {
      const made = element('tr');
      made.append(named('Average'), element('td', '', `Mature cohorts, ${row.currency}`), cell(''), cell(''),
        ...figures(row));
      rows.push(made);
    }
    $('nothing').hidden = report.rows.length > 0;
    $('rows').replaceChildren(...rows);
  }

  // ---- one campaign

  function retention(report) {
    const head = element('tr');
    head.append(element('th', '', 'From'), element('th', 'num', 'People'),
      ...report.days.map((one) => element('th', 'num', `Day ${one.day}`)));
    for (const one of head.children) one.scope = 'col';
    $('back-head').replaceChildren(head);
    const line = (title, row) => {
      const made = element('tr');
      made.append(named(title), cell(number(row.persons)), ...row.days.map((one) => shade(
        cell(one.rate === null ? '—' : share.format(one.rate) + (one.mature ? '' : ' *')), one.rate || 0)));
      return made;
    };
    $('back-rows').replaceChildren(...report.cohorts.map((one) => line(one.start, one)), line('All', report));
  }
  function saturation(report) {
    curve = report;
    const missing = report.missing.map((one) => MISSING[one]).join(', ');
    const parts = [STATES[report.state] + (missing && `: ${missing}`)];
    if (report.unbounded) parts.push('The days do not show where the ceiling is');
    if (report.saturation !== null) {
      const [low, high] = report.saturation_band;
      parts.push(`${share.format(report.saturation)} of the ceiling (95 %: ${share.format(low)} to ${share.format(high)}) `
        + `at ${money(report.usual_spend_minor, report.currency)} a day`, `R² ${number(report.r_squared)}`);
    }
    $('s-note').textContent = `${parts.join('. ')}.`;
    draw();
  }
  function draw() {
    const points = curve ? curve.points : [];
    $('chart-box').hidden = !points.length || !window.Chart;
    if ($('chart-box').hidden) return;
    const scale = 10 ** minorDigits(curve.currency);
    const line = (part) => curve.curve.map((one) => ({ x: one.spend_minor / scale, y: one[part] / scale }));
    if (chart) chart.destroy();
    const edge = { showLine: true, pointRadius: 0, borderWidth: 1, borderColor: token('--c3'), borderDash: [4, 4] };
    chart = new window.Chart($('chart'), {
      type: 'scatter',
      data: { datasets: [
        { label: 'Days', data: points.map((one) => ({ x: one.spend_minor / scale, y: one.cost_minor / scale })),
          backgroundColor: token('--c1') },
        { label: 'Curve', data: line('cost_minor'), showLine: true, pointRadius: 0, borderColor: token('--c3') },
        { ...edge, label: '95 % from', data: line('low_minor') }, { ...edge, label: 'to', data: line('high_minor') },
      ] },
      options: {
        animation: false, maintainAspectRatio: false,
        plugins: { legend: { labels: { boxWidth: 12, color: token('--ink-2') } } },
        scales: {
          x: { title: { display: true, text: `Spend a day, ${curve.currency}`, color: token('--ink-2') },
            grid: { color: token('--grid') }, ticks: { color: token('--ink-3') } },
          y: { beginAtZero: true, title: { display: true, text: 'Cost of a result', color: token('--ink-2') },
            grid: { color: token('--grid') }, ticks: { color: token('--ink-3') } },
        },
      },
    });
  }

  // ---- advice and claims

  async function decide(row, decision) {
    try {
      await answer(`/v1/attribution/advice/decisions?model=${$('model').value}`, {
        method: 'POST', headers: { 'Content-Type': 'application/json' },
        body: JSON.stringify({ campaign: row.campaign, currency: row.currency, action: row.action,
          to_minor: row.to_minor, decision }) });
      $('decided').textContent = `${row.campaign}: ${decision}.`;
      await Promise.all([loadAdvice(), loadOpen()]);
    } catch (refusal) {
      if (refusal.name !== 'AbortError') $('decided').textContent = refusal.message;
    }
  }
  function advice(report) {
    $('advice-rows').replaceChildren(...report.rows.map((row) => {
      const made = element('tr');
      const said = element('td', '', row.action === 'hold' ? 'Hold' : row.action === 'raise' ? 'Raise' : 'Lower');
      const auto = row.auto ? [row.dry_run ? 'automatic, as a dry run' : 'automatic'] : [];
      said.append(element('small', '',
        [REASONS[row.reason], ...row.alerts.map((one) => ALERTS[one]), ...auto].join('; ')));
      const choose = element('td');
      if (row.to_minor !== null) {
        for (const [title, decision] of [['Approve', 'approved'], ['Reject', 'rejected']]) {
          const button = element('button', 'ghost', title);
          button.type = 'button';
          button.setAttribute('aria-label', `${title}: ${row.campaign}, ${row.currency}`);
          button.addEventListener('click', () => decide(row, decision));
          choose.append(button);
        }
      }
      made.append(named(row.campaign), said, cell(money(row.from_minor, row.currency)),
        cell(money(row.to_minor, row.currency)), cell(times(row.roas)), cell(times(row.target_roas)), choose);
      return made;
    }));
  }
  const when = (time) => new Date(time).toLocaleString('en-US', { hour12: false });
  function stops(report) {
    $('no-stops').hidden = report.alerts.length > 0;
    $('stop-rows').replaceChildren(...report.alerts.map((row) => {
      const made = element('tr');
      const day = element('td', '', row.day);
      day.append(element('small', '', row.timezone));
      made.append(named(row.campaign), element('td', '', ALERTS[row.rule]), day,
        cell(money(row.spend_minor, row.currency)), cell(money(row.limit_minor, row.currency)),
        element('td', '', when(row.raised_at)));
      return made;
    }));
  }
  async function acknowledge(row) {
    try {
      await answer(`/v1/attribution/advice/decisions/${row.id}/acknowledge`, { method: 'POST' });
      $('acknowledged').textContent = `${row.campaign}: acknowledged.`;
      await loadOpen();
    } catch (refusal) {
      if (refusal.name !== 'AbortError') $('acknowledged').textContent = refusal.message;
    }
  }
  function carryOut(report) {
    $('no-open').hidden = report.decisions.length > 0;
    $('open-rows').replaceChildren(...report.decisions.map((row) => {
      const made = element('tr');
      const said = element('td', '', ACTIONS[row.action]);
      said.append(element('small', '', row.actor === 'auto' ? 'automatic' : 'a person'));
      const done = element('td');
      const button = element('button', 'ghost', 'Acknowledge');
      button.type = 'button';
      button.setAttribute('aria-label', `Acknowledge: ${ACTIONS[row.action]} ${row.campaign}, ${row.currency}`);
      button.addEventListener('click', () => acknowledge(row));
      done.append(button);
      made.append(named(row.campaign), said, cell(money(row.from_minor, row.currency)),
        cell(row.action === 'pause' ? '—' : money(row.to_minor, row.currency)),
        element('td', '', when(row.decided_at)), done);
      return made;
    }));
  }
  function claims(report) {
    // Counts are over all currencies, values of each.
    const values = (row, part) => row.values.map((one) => money(one[part], one.currency)).join(', ') || '—';
    $('claim-rows').replaceChildren(...report.totals.map((row) => {
      const made = element('tr');
      made.append(named(row.network), cell(number(row.claimed)), cell(number(row.credited)),
        cell(times(row.inflation)),
        ...['click', 'view', 'visit'].map((kind) => cell(row.evidence ? number(row.evidence[kind]) : '—')),
        row.evidence ? cell(number(row.evidence.none),
          row.evidence.unknown ? `${number(row.evidence.unknown)} not known` : '') : cell('—'),
        cell(values(row, 'claimed_value_minor')), cell(values(row, 'credited_value_minor')));
      return made;
    }));
    $('claim-note').textContent = report.evidence_from === null ? ''
      : `There are too many sales to look at the paths of all: evidence is told by day from ${report.evidence_from} on.`;
  }
  // Where the list of shared sales goes on; null at its end.
  let nextShared = null;
  function shared(page, isFirst) {
    const rows = page.conversions.map((row) => {
      const made = element('tr');
      const sale = named(new Date(row.at).toLocaleString('en-US', { hour12: false }));
      sale.append(element('small', '', row.id));
      made.append(sale,
        element('td', '', row.networks.map((one) => `${one.network}: ${one.evidence}`).join(', ')),
        element('td', '', row.credits.map((one) => `${one.campaign} ${share.format(one.credited)}`).join(', ')),
        cell(row.currency === null ? '—' : money(row.value_minor, row.currency)));
      return made;
    });
    if (isFirst) $('shared-rows').replaceChildren(...rows);
    else $('shared-rows').append(...rows);
    nextShared = page.next;
    $('more-shared').hidden = nextShared === null;
    $('no-shared').hidden = nextShared !== null || $('shared-rows').childElementCount > 0;
  }

  // ---- asking

  const ask = async (path) => (await answer(`/v1/attribution/${path}`)).json();
  async function guarded(target, body) {
    try {
      target.hidden = true;
      await body();
    } catch (refusal) {
      if (refusal.name !== 'AbortError') refuse(target, refusal);
    }
  }
  const query = (members) => new URLSearchParams(members);
  async function loadCohorts() {
    const asked = query({ on: $('on').value, by: $('period').value, group_by: $('by').value, model: $('model').value,
      days: $('range').value }).toString();
    cohorts(await ask(`cohorts?${asked}`));
  }
  async function loadAdvice() { advice(await ask(`advice?model=${$('model').value}`)); }
  // A later answer of an older question must not be added to a newer list.
  let sharedAsked = 0;
  const loadShared = (after) => guarded($('shared-refusal'), async () => {
    sharedAsked += 1;
    const asked = sharedAsked;
    const members = { model: $('model').value, limit: '20' };
    if (after) members.after = after;
    const page = await ask(`claims/shared?${query(members)}`);
    if (asked === sharedAsked) shared(page, !after);
  });
  async function loadOpen() { carryOut(await ask('advice/decisions?state=open')); }
  async function loadStops() { stops(await ask('stops')); }
  const loadCampaign = () => guarded($('campaign-refusal'), async () => {
    const campaign = $('campaign').value;
    if (!campaign) return;
    const [back, costs] = await Promise.all([
      ask(`retention?${query({ campaign })}`),
      ask(`saturation?${query({ campaign, on: $('result').value, model: $('model').value })}`),
    ]);
    if (campaign !== $('campaign').value) return;
    retention(back);
    saturation(costs);
  });
  // The campaigns to choose from are those of the last 90 days' report.
  async function loadNames() {
    const { rows } = await ask('report?days=90');
    const names = [...new Set(rows.map((row) => row.key))].filter((key) => key !== 'unmatched' && !key.startsWith('('));
    const wanted = new URLSearchParams(location.search).get('campaign');
    $('campaign').replaceChildren(...names.map((name) => {
      const made = element('option', '', name);
      made.value = name;
      return made;
    }));
    if (names.includes(wanted)) $('campaign').value = wanted;
    window.aurumBudgets.suggest(names);
  }
  async function load() {
    await guarded($('refusal'), async () => {
      // The server answers four questions of one organisation at a time, and other pages and jobs ask as well.
      await Promise.all([loadCohorts(), loadNames()]);
      await loadCampaign();
      await loadAdvice();
      await window.aurumBudgets.load();
      await Promise.all([loadStops(), loadOpen()]);
      claims(await ask(`claims?model=${$('model').value}`));
      await loadShared(null);
      $('cohorts').dataset.state = 'ready';
    });
    $('cohorts').removeAttribute('aria-busy');
  }
  function restore() {
    const from = new URLSearchParams(location.search);
    for (const [id, standard] of Object.entries(FIELDS)) {
      if (id === 'campaign') continue;
      $(id).value = from.get(id) || standard;
      if (!$(id).value) $(id).value = standard;
    }
  }
  function changed(event) {
    const state = new URLSearchParams();
    for (const [id, standard] of Object.entries(FIELDS)) {
      if ($(id).value && $(id).value !== standard) state.set(id, $(id).value);
    }
    remember(state, false);
    if (event.target.id === 'figure' && cohortReport) return cohorts(cohortReport);
    if (['campaign', 'result'].includes(event.target.id)) return loadCampaign();
    return load();
  }
  for (const form of ['wish', 'choice']) $(form).addEventListener('submit', (submit) => submit.preventDefault());
  for (const id of Object.keys(FIELDS)) $(id).addEventListener('change', changed);
  document.addEventListener('aurum-budget-set', () => guarded($('refusal'), loadAdvice));
  $('more-shared').addEventListener('click', () => { if (nextShared !== null) loadShared(nextShared); });
  window.addEventListener('popstate', () => {
    restore();
    load();
  });
  window.matchMedia('(prefers-color-scheme: dark)').addEventListener('change', () => {
    if (cohortReport) cohorts(cohortReport);
    draw();
  });
  restore();
  load();
})();
