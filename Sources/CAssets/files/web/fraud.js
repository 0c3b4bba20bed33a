// Fraud: proposals to decide on, publishers, verdicts with a filter, and the lists.
(() => {
  'use strict';
  const { $, element, answer, plural, remember } = window.aurumQuestions;
  const { line, fill, number, badge, moment, desk } = window.aurumLists;
  const { attempt, button } = desk('refusal');
  const PAGE = 50;
  let listed = [];
  let next = null;
  let applied = new URLSearchParams();

  const share = (value) => element('td', 'num', `${(100 * (value || 0)).toFixed(1)} %`);
  const name = (row) => [row.network, row.publisher].filter(Boolean).join(' / ');
  const ask = async (path) => (await answer(`/v1/fraud/${path}`)).json();
  const changing = (label, about, work) => button(label, about, async () => {
    await work();
    await overview();
  });

  // ---- proposals, publishers, lists

  const decide = (id, decision) => answer(`/v1/fraud/proposals/${id}`, {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ decision }),
  });
  function proposal(row) {
    const actions = element('td');
    const offered = { open: ['confirm', 'dismiss'], confirmed: ['undo'], dismissed: ['undo'] }[row.state] || [];
    for (const decision of offered) {
      const label = decision[0].toUpperCase() + decision.slice(1);
      actions.append(changing(label, `${row.action} ${name(row)}`, () => decide(row.id, decision)));
    }
    return line(
      element('th', '', name(row)), element('td', '', row.action === 'deny' ? 'Deny list' : 'Suspension'),
      badge(row.state), number(row.installs), number(row.rejected), share(row.share), moment(row.created_at), actions,
    );
  }
  function patterns(row) {
    const cell = element('td');
    for (const pattern of row.patterns) {
      const whole = element('details');
      whole.append(element('summary', '', pattern.code));
      const said = [`${pattern.test}: ${pattern.statistic}`, `n = ${pattern.n}`,
        pattern.p !== null && `p = ${pattern.p.toPrecision(2)}`, `share ${pattern.share.toPrecision(3)}`,
        `reference ${pattern.reference.toPrecision(3)}`].filter(Boolean).join(', ');
      whole.append(element('p', '', said));
      cell.append(whole);
    }
    return cell;
  }
  async function overview() {
    const [proposals, publishers, lists] = await Promise.all([
      ask('proposals?limit=100'), ask('publishers?limit=200'), ask('lists'),
    ]);
    fill('proposals', proposals.proposals.map(proposal));
    fill('publishers', publishers.publishers.map((row) => line(
      element('th', '', name(row)), element('td', '', row.app), number(row.installs), number(row.suspect),
      number(row.rejected), share(row.share), badge(row.grade), patterns(row),
    )));
    fill('entries', lists.entries.map((row) => {
      const actions = element('td');
      actions.append(changing('Remove', `${row.list} ${row.value}`, () => answer(`/v1/fraud/lists/${row.id}`, {
        method: 'DELETE',
      })));
      return line(
        element('th', '', row.list), element('td', '', row.kind),
        element('td', '', row.network ? `${row.network} / ${row.value}` : row.value), element('td', '', row.note),
        moment(row.added_at), actions,
      );
    }));
    $('as-of').textContent = `As of ${new Date().toLocaleTimeString('en-US', { hour12: false })}`;
  }

  // ---- verdicts

  const wish = () => {
    const made = new URLSearchParams();
    for (const id of ['outcome', 'code', 'publisher']) {
      if ($(id).value.trim()) made.set(id, $(id).value.trim());
    }
    return made;
  };
  const verdict = (row) => line(
    moment(row.at), element('td', '', row.subject === 'install' ? 'The install' : `A touch${row.claims_install ? ' that claims it' : ''}`),
    element('th', '', (row.touch || row.install).slice(-8)), element('td', '', name(row)), badge(row.outcome),
    element('td', '', row.codes.join(', ')), element('td', '', row.reason || ''),
    element('td', '', row.stage === 'after' ? 'After the fact' : 'With the install'),
  );
  async function load(older = false) {
    const asked = new URLSearchParams(applied);
    asked.set('limit', PAGE);
    if (older && next) asked.set('after', next);
    const found = await ask(`verdicts?${asked}`);
    listed = older ? listed.concat(found.verdicts) : found.verdicts;
    next = found.next;
    fill('verdicts', listed.map(verdict));
    $('more').hidden = !next;
    $('shown').textContent = plural(listed.length, 'verdict', 'verdicts');
  }
  function restore() {
    const from = new URLSearchParams(location.search);
    for (const id of ['outcome', 'code', 'publisher']) $(id).value = from.get(id) || '';
    applied = wish();
  }

  $('wish').addEventListener('submit', (submit) => {
    submit.preventDefault();
    applied = wish();
    remember(applied, false);
    attempt(() => load());
  });
  for (const id of ['outcome', 'code']) $(id).addEventListener('change', () => $('wish').requestSubmit());
  $('more').addEventListener('click', () => attempt(() => load(true)));
  $('review').addEventListener('click', () => attempt(async () => {
    await answer('/v1/fraud/review', { method: 'POST' });
    $('as-of').textContent = 'All installs are looked at again; the page Jobs shows how far it is.';
  }));
  window.addEventListener('popstate', () => {
    restore();
    attempt(() => load());
  });
  attempt(async () => {
    const { codes } = await ask('rules?limit=1');
    for (const code of [...codes, 'allow_listed', 'deny_listed', 'suspended']) {
      const option = element('option', '', code);
      option.value = code;
      $('code').append(option);
    }
    restore();
    await Promise.all([load(), overview()]);
  });
})();
