// Budgets of campaigns: the list, and the form that sets one for whoever may.
window.aurumBudgets = (() => {
  'use strict';
  const { $, element, answer, minorDigits, amount } = window.aurumQuestions;
  // Members of the API by the field of the form, with what sentences call them.
  const FIELDS = {
    campaign: ['b-campaign', 'campaign'], currency: ['b-currency', 'currency'],
    target_roas: ['b-target', 'target ROAS'], cap_minor: ['b-cap', 'cap'], floor_minor: ['b-floor', 'floor'],
    auto: ['b-auto', 'automatic advice'], may_pause: ['b-pause', 'pausing'], dry_run: ['b-dry', 'dry run'],
  };
  let listed = [];

  // ---- the list

  const cell = (text) => element('td', 'num', text);
  const may = (is, dryRun) => element('td', '', !is ? 'No' : dryRun ? 'As a dry run' : 'Yes');
  function row(one) {
    const made = element('tr');
    const name = element('th', '', one.campaign);
    name.scope = 'row';
    made.append(name, element('td', '', one.currency), cell(`${one.target_roas}×`),
      cell(amount(one.cap_minor, one.currency)), cell(amount(one.floor_minor, one.currency)),
      may(one.auto, one.dry_run), may(one.may_pause, one.dry_run));
    if ($('budget')) {
      const change = element('button', 'ghost', 'Change');
      change.type = 'button';
      change.setAttribute('aria-label', `Change: ${one.campaign}, ${one.currency}`);
      change.addEventListener('click', () => {
        fill(one);
        $('b-cap').focus();
      });
      const place = element('td');
      place.append(change);
      made.append(place);
    }
    return made;
  }
  async function load() {
    const { budgets } = await (await answer('/v1/attribution/budgets')).json();
    listed = budgets;
    $('budget-rows').replaceChildren(...budgets.map(row));
    $('no-budgets').hidden = budgets.length > 0;
  }
  function suggest(names) {
    if (!$('b-names')) return;
    $('b-names').replaceChildren(...names.map((name) => new Option(name, name)));
  }

  // ---- the form

  function plain(minor, currency) {
    if (minor === null) return '';
    const digits = minorDigits(currency);
    return (minor / 10 ** digits).toFixed(digits);
  }
  function fill(one) {
    tell([]);
    $('b-campaign').value = one.campaign;
    $('b-currency').value = one.currency;
    $('b-target').value = one.target_roas;
    $('b-cap').value = plain(one.cap_minor, one.currency);
    $('b-floor').value = plain(one.floor_minor, one.currency);
    $('b-auto').value = String(one.auto);
    $('b-pause').value = String(one.may_pause);
    $('b-dry').value = String(one.dry_run);
    $('budget-set').textContent = `This is what is set for ${one.campaign}, ${one.currency}.`;
  }
  // What is left out goes back to its default, so that the form begins with what is set.
  function chosen() {
    const [campaign, currency] = [$('b-campaign').value.trim().toLowerCase(), code()];
    const known = listed.find((one) => one.campaign.toLowerCase() === campaign && one.currency === currency);
    if (known) fill(known);
  }
  const code = () => $('b-currency').value.trim().toUpperCase();
  // Whole minor units of an amount such as 182.40, exactly; null for what is none.
  function minorOf(text, currency) {
    const digits = minorDigits(currency);
    const found = /^(\d{1,13})(?:\.(\d+))?$/.exec(text);
    if (!found || (found[2] || '').length > digits) return null;
    return Number(found[1] + (found[2] || '').padEnd(digits, '0'));
  }
  // Says beside each field what is wrong with it.
  // Returns what is about no field of the form.
  function tell(problems) {
    for (const [id] of Object.values(FIELDS)) {
      $(id).removeAttribute('aria-invalid');
      $(`${id}-wrong`).textContent = '';
      $(`${id}-wrong`).hidden = true;
    }
    const others = [];
    let first = null;
    for (const { field, detail } of problems) {
      const [id, word] = FIELDS[field] || [null, field];
      const said = detail.replace(/\b(cap_minor|floor_minor|target_roas)\b/g, (name) => `the ${FIELDS[name][1]}`);
      const sentence = `${word.charAt(0).toUpperCase()}${word.slice(1)} ${said.replace(/\.$/, '')}.`;
      if (!id) {
        others.push(sentence);
        continue;
      }
      $(id).setAttribute('aria-invalid', 'true');
      $(`${id}-wrong`).textContent = sentence;
      $(`${id}-wrong`).hidden = false;
      first = first || $(id);
    }
    if (first) first.focus();
    return others.join(' ');
  }
  async function set() {
    const [currency, problems] = [code(), []];
    const minor = (field) => {
      const text = $(FIELDS[field][0]).value.trim();
      if (!text) return null;
      const value = minorOf(text, currency);
      if (value === null) {
        const example = plain(18000, currency);
        problems.push({ field, detail: `is no amount of ${currency || 'a currency'}; give one such as ${example}` });
      }
      return value;
    };
    const target = $('b-target').value.trim();
    const flag = (id) => $(id).value === 'true';
    const body = {
      campaign: $('b-campaign').value.trim(), currency,
      target_roas: !target ? null : /^-?\d+(\.\d+)?$/.test(target) ? Number(target) : target,
      cap_minor: minor('cap_minor'), floor_minor: minor('floor_minor'),
      auto: flag('b-auto'), may_pause: flag('b-pause'), dry_run: flag('b-dry'),
    };
    $('budget-set').textContent = '';
    tell(problems);
    if (problems.length) return;
    try {
      const kept = await (await answer('/v1/attribution/budgets', {
        method: 'PUT', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) })).json();
      $('budget-set').textContent = `${kept.campaign}, ${kept.currency}: set.`;
      await load();
      document.dispatchEvent(new Event('aurum-budget-set'));
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      const wrong = (refusal.problem || {}).problems;
      $('budget-set').textContent = wrong ? tell(wrong) : refusal.message;
    }
  }
  if ($('budget')) {
    $('budget').addEventListener('submit', async (submit) => {
      submit.preventDefault();
      $('b-submit').disabled = true;
      await set();
      $('b-submit').disabled = false;
    });
    for (const id of ['b-campaign', 'b-currency']) $(id).addEventListener('change', chosen);
  }
  return { load, suggest };
})();
