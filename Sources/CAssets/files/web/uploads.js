// Uploads: destinations with counts every five seconds; conversions with a filter and every attempt.
(() => {
  'use strict';
  const { $, element, answer, minorDigits, plural, remember } = window.aurumQuestions;
  const { line, fill, number, badge, moment, desk } = window.aurumLists;
  const { attempt, button, story } = desk('refusal');
  const EVERY_MILLISECONDS = 5000;
  const PAGE = 50;
  let names = new Map();
  let listed = [];

  const money = (minor, currency) => {
    const digits = minorDigits(currency);
    return `${(minor / 10 ** digits).toFixed(digits)} ${currency}`;
  };

  // ---- destinations

  async function change(id, body) {
    await answer(`/v1/uploads/destinations/${id}`, {
      method: 'PATCH', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body),
    });
    await overview();
  }
  function row(one) {
    const items = one.items;
    const told = Object.entries(one.told_minor).filter(([, minor]) => minor).map(([currency, minor]) => money(minor, currency));
    const actions = element('td');
    actions.append(
      button('Test', one.name, async (made) => {
        const said = await (await answer(`/v1/uploads/destinations/${one.id}/test`, { method: 'POST' })).json();
        made.textContent = said.works ? 'Works' : `Does not work: ${said.reason}`;
      }),
      button(one.state === 'paused' ? 'Resume' : 'Pause', one.name, () => change(one.id, {
        state: one.state === 'paused' ? 'active' : 'paused',
      })),
    );
    return line(
      element('th', '', one.name), element('td', '', one.network),
      badge(one.state === 'paused' ? 'paused' : one.dry_run ? 'dry run' : 'live'), number((items.waiting || 0) + (items.sent || 0)),
      number((items.accepted || 0) + (items.restated || 0)), number(items.retracted), number(items.unknown),
      number(items.rejected), number((items.too_old || 0) + (items.suppressed || 0) + (items.dry_run || 0)),
      element('td', 'num', told.join(', ') || '0'), element('td', '', one.failing ? one.failure : ''), actions,
    );
  }
  async function overview() {
    const { destinations } = await (await answer('/v1/uploads/destinations')).json();
    names = new Map(destinations.map((one) => [one.id, one.name]));
    // A button that somebody is at stays where it is.
    if (!$('destinations').contains(document.activeElement)) fill('destinations', destinations.map(row));
    const chosen = $('destination').value;
    const options = [['', 'Every destination'], ...names].map(([id, name]) => {
      const option = element('option', '', name);
      option.value = id;
      return option;
    });
    $('destination').replaceChildren(...options);
    $('destination').value = names.has(chosen) ? chosen : '';
    $('as-of').textContent = `As of ${new Date().toLocaleTimeString('en-US', { hour12: false })}`;
  }

  // ---- conversions

  const wish = () => {
    const made = new URLSearchParams();
    if ($('state').value) made.set('state', $('state').value);
    if ($('destination').value) made.set('destination', $('destination').value);
    return made;
  };
  function itemRow(item) {
    return line(
      element('th', '', item.subject.slice(-8)), element('td', '', item.kind),
      element('td', '', names.get(item.destination) || 'removed'),
      badge(item.state.replace('_', ' ')), moment(item.occurred_at),
      element('td', 'num', item.kind === 'sale' ? money(item.wanted_minor, item.currency) : ''),
      element('td', 'num', item.told_minor === undefined ? '' : money(item.told_minor, item.currency)),
      number(item.attempts),
      story([item.reason, item.returned && 'given back'].filter(Boolean).join(' · ') || 'Attempts',
        `/v1/uploads/items/${item.id}`, (all) => all.history, 'Every attempt as JSON'),
    );
  }
  async function load(older = false) {
    const asked = wish();
    asked.set('limit', PAGE);
    if (older && listed.length) asked.set('before', listed[listed.length - 1].id);
    const { items } = await (await answer(`/v1/uploads/items?${asked}`)).json();
    listed = older ? listed.concat(items) : items;
    fill('items', listed.map(itemRow));
    $('more').hidden = items.length < PAGE;
    $('shown').textContent = plural(listed.length, 'conversion', 'conversions');
  }

  for (const id of ['state', 'destination']) {
    $(id).addEventListener('change', () => {
      remember(wish(), false);
      attempt(() => load());
    });
  }
  $('wish').addEventListener('submit', (submit) => submit.preventDefault());
  $('more').addEventListener('click', () => attempt(() => load(true)));
  function restore() {
    const from = new URLSearchParams(location.search);
    $('state').value = from.get('state') || '';
    $('destination').value = names.has(from.get('destination')) ? from.get('destination') : '';
  }
  window.addEventListener('popstate', () => {
    restore();
    attempt(() => load());
  });
  attempt(async () => {
    await overview();
    restore();
    await load();
  });
  const watch = async () => {
    if (!document.hidden) await attempt(overview);
    setTimeout(watch, EVERY_MILLISECONDS);
  };
  setTimeout(watch, EVERY_MILLISECONDS);
})();
