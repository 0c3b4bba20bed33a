// The funnel: steps in a form and in the address, conversion as bars with their numbers.
(() => {
  'use strict';
  const {
    $, element, zone, asker, refuse, event, labelled, entry, typeChoice, count, percent, seconds, plural, facts,
    remember, ...shared
  } = window.aurumQuestions;
  const STEPS_MIN = 2;
  const STEPS_MAX = 10;
  const DEFAULTS = { window: '7d', order: 'ordered', by: '' };
  const START = [['page', '', ''], ['conversion', '', '']];
  const encoder = new TextEncoder();
  const ask = asker('/v1/query/funnel');
  const range = shared.range();
  let timezone = zone;

  // ---- steps

  const lines = () => Array.from($('steps').children);
  const stepOf = (line) => Array.from(line.querySelectorAll('select, input')).map((control) => control.value.trim());
  const steps = () => lines().map(stepOf);
  const prefix = ([type, name]) => [...event(type, name), '('].join(' and ');
  const where = ([type, name, more]) => (more ? `${prefix([type, name])}${more})` : event(type, name).join(' and '));
  const title = ([type, name, more]) => {
    const event = name || type;
    return event ? event + (more ? ` (${more})` : '') : more || 'any event';
  };
  function addStep([type, name, more] = ['', '', '']) {
    const line = element('li');
    const kind = typeChoice(type);
    const up = element('button', 'ghost', '↑');
    const remove = element('button', 'ghost', 'Remove');
    for (const button of [up, remove]) button.type = 'button';
    up.addEventListener('click', () => {
      if (line.previousElementSibling) line.previousElementSibling.before(line);
      number();
      up.focus();
      run();
    });
    remove.addEventListener('click', () => {
      const next = line.nextElementSibling || line.previousElementSibling;
      line.remove();
      number();
      next.querySelector('select').focus();
      run();
    });
    line.append(labelled('Event type', kind), labelled('Event name', entry(name, 'names', 'any name')),
      labelled('And only where', entry(more, '', 'url contains "/pricing"'), 'grow'), up, remove);
    $('steps').append(line);
    number();
    return kind;
  }
  function number() {
    lines().forEach((line, index, all) => {
      const [up, remove] = line.querySelectorAll('button');
      up.disabled = index === 0;
      up.setAttribute('aria-label', `Move step ${index + 1} up`);
      remove.disabled = all.length <= STEPS_MIN;
      remove.setAttribute('aria-label', `Remove step ${index + 1}`);
      line.querySelectorAll('select, input').forEach((control, at) => control.setAttribute('aria-label',
        `Step ${index + 1}: ${['event type', 'event name', 'and only where'][at]}`));
    });
    $('add-step').disabled = lines().length >= STEPS_MAX;
  }

  // ---- the address

  function state() {
    const made = new URLSearchParams();
    for (const step of steps()) made.append('step', JSON.stringify(step));
    for (const name of Object.keys(DEFAULTS)) {
      const value = $(name).value.trim();
      if (value !== DEFAULTS[name]) made.set(name, value);
    }
    range.write(made);
    made.set('tz', timezone);
    return made;
  }
  function load() {
    const from = new URLSearchParams(location.search);
    const given = from.getAll('step').flatMap((text) => {
      try {
        const [type, name, more] = JSON.parse(text);
        return [[type, name, more].map((part) => String(part || ''))];
      } catch { return []; }
    }).slice(0, STEPS_MAX);
    while (given.length && given.length < STEPS_MIN) given.push(['', '', '']);
    $('steps').replaceChildren();
    (given.length ? given : START).forEach(addStep);
    for (const name of Object.keys(DEFAULTS)) {
      const value = from.get(name) || DEFAULTS[name];
      if ($(name).options && !Array.from($(name).options).some((option) => option.value === value)) {
        $(name).append(new Option(value, value));
      }
      $(name).value = value;
    }
    timezone = from.get('tz') || zone;
    range.put(from);
  }

  // ---- asking and showing

  function question() {
    const by = $('by').value.trim();
    return {
      ...range.members(), timezone, window: $('window').value, order: $('order').value,
      // A step without a condition is any event: every event has a type.
      steps: steps().map((step) => ({ name: title(step), where: where(step) || 'type exists' })),
      ...(by ? { breakdown: by, limit: 20 } : {}),
    };
  }
  // Where in the text of its step a problem lies: the server counts from what this page wrote before it.
  const placedIn = (asked) => ({ field, detail }) => {
    const step = /^steps\[(\d+)\]\.where$/.exec(field);
    const place = /^(.*) at byte (\d+)$/s.exec(detail);
    const [, , more] = (step && asked[Number(step[1])]) || [];
    if (!place || !more) return null;
    const offset = Number(place[2]) - encoder.encode(prefix(asked[Number(step[1])])).length;
    return { detail: place[1], text: more, offset: Math.min(Math.max(0, offset), encoder.encode(more).length) };
  };
  async function run(replace = false) {
    const asked = steps();
    remember(state(), replace);
    $('funnel').setAttribute('aria-busy', 'true');
    try {
      const reply = await ask(question());
      $('refusal').hidden = true;
      paint(reply);
    } catch (refusal) {
      if (refusal.name === 'AbortError') return;
      for (const part of ['result', 'groups', 'nothing']) $(part).hidden = true;
      refuse($('refusal'), refusal, '', placedIn(asked));
      if (!refusal.problem) throw refusal;
    }
    $('funnel').removeAttribute('aria-busy');
  }
  function paint(reply) {
    const isEmpty = reply.persons === 0;
    $('nothing').hidden = !isEmpty;
    $('result').hidden = isEmpty;
    $('groups').hidden = isEmpty || !reply.groups;
    if (isEmpty) return;
    facts($('facts'), reply);
    const end = reply.steps[reply.steps.length - 1];
    $('conversion').textContent = percent.format(reply.conversion);
    const all = plural(reply.persons, 'person', 'persons');
    $('conversion-note').textContent = `${count.format(end.persons)} of ${all} took every step`;
    $('stairs').replaceChildren(...reply.steps.map((step, index) => stair(step, reply.steps[index - 1])));
    $('news').textContent = `${percent.format(reply.conversion)} of ${all} took every step.`;
    if (reply.groups) groups(reply);
  }
  function stair(step, before) {
    const line = element('li');
    const head = element('p', 'stair-head');
    head.append(element('b', '', `${step.step}. ${step.name}`),
      element('span', 'num', plural(step.persons, 'person', 'persons')),
      element('span', 'num share', percent.format(step.conversion)));
    const bar = element('div', 'stair-bar');
    bar.setAttribute('aria-hidden', 'true');
    const part = element('i');
    part.style.setProperty('--part', `${step.conversion * 100}%`);
    // Of few persons a sliver is seen, of none nothing.
    if (step.persons) bar.append(part);
    if (before) {
      const lost = before.persons - step.persons;
      const words = [
        step.from_previous === null ? '' : `${percent.format(step.from_previous)} of step ${before.step}`,
        `${count.format(lost)} lost`,
        step.median_seconds === null ? '' : `${seconds(step.median_seconds)} median since step ${before.step}`,
      ].filter(Boolean);
      line.append(element('p', 'stair-between', words.join(' · ')));
    }
    line.append(head, bar);
    return line;
  }
  function groups(reply) {
    const head = element('tr');
    head.append(element('th', '', reply.breakdown), ...reply.steps.map((step) => element('th', 'num', step.name)),
      element('th', 'num', 'Conversion'));
    for (const cell of head.children) cell.scope = 'col';
    $('head').replaceChildren(head);
    $('body').replaceChildren(...reply.groups.map((group) => {
      const line = element('tr');
      const name = element('th', '', group.value === null ? '(none)' : String(group.value));
      name.scope = 'row';
      const end = group.steps[group.steps.length - 1];
      line.append(name, ...group.steps.map((step) => element('td', 'num', count.format(step.persons))),
        element('td', 'num', percent.format(end.conversion)));
      return line;
    }));
    $('group-note').textContent = reply.truncated
      ? `The ${reply.groups.length} largest of ${plural(reply.group_count, 'group', 'groups')}.`
      : plural(reply.group_count, 'group', 'groups');
  }

  $('add-step').addEventListener('click', () => addStep().focus());
  $('ask').addEventListener('change', () => run());
  $('ask').addEventListener('submit', (submit) => {
    submit.preventDefault();
    run();
  });
  window.addEventListener('popstate', () => {
    load();
    run(true);
  });
  shared.suggestColumns();
  shared.suggestNames();
  load();
  run(true);
})();
