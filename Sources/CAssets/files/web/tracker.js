// Aurum tracker. Events stay queued until answered; one may come twice, with one id.
// GPC or analytics denied: only that is kept, ids last one page.
((w, d, nav) => {
const me = d.currentScript, key = me?.dataset.key;
if (!key || w.aurum) return;
const to = new URL(me.src).origin + '/v1/events', gpc = !!nav.globalPrivacyControl;
const networks = {google: 'gclid gbraid wbraid dclid', microsoft: 'msclkid', meta: 'fbclid', tiktok: 'ttclid',
  x: 'twclid', linkedin: 'li_fat_id', snapchat: 'ScCid', reddit: 'rdt_cid', pinterest: 'epik', yandex: 'yclid',
  impact: 'irclickid', aurum: 'aurum_click'};
const hex = n => [...crypto.getRandomValues(new Uint8Array(n))].map(b => b.toString(16).padStart(2, 0)).join('');
const uuid = () => hex(16).replace(/(.{8})(.{4}).(.{3}).(.{3})/, '$1-$2-4$3-a$4-');
const now = () => new Date().toISOString(), cut = s => s?.trim().slice(0, 200);
const here = () => location.href.split('#')[0].slice(0, 4096);
const attempt = f => { try { return f(localStorage); } catch {} };
const read = k => attempt(s => JSON.parse(s[k]));
const keep = (k, v) => attempt(s => v ? s[k] = JSON.stringify(v) : delete s[k]);
const kept = f => attempt(s => Object.keys(s).forEach(k => /^aurum\.(id|q)/.test(k) && f(k)));
const ID = 'aurum.id', CHOICE = 'aurum.consent', slot = 'aurum.q' + hex(8);
let queue = [], busy = 0, wait, from = d.referrer, at = here(), self = {};
let choice = {analytics: 'unknown', ads: 'unknown', ...read(CHOICE)};
const may = () => !gpc && choice.analytics !== 'denied', save = () => keep(slot, may() && queue[0] && queue);

// What led here, or 0.
const source = () => {
  const q = new URLSearchParams(location.search), campaign = {}, touch = {};
  for (const k of ['source', 'medium', 'campaign', 'term', 'content', 'id']) {
    const v = cut(q.get('utm_' + k));
    if (v) touch[k] = campaign[k === 'campaign' ? 'name' : k] = v;
  }
  for (const n in networks) for (const k of networks[n].split(' ')) if (q.get(k)) {
    touch.clickID = cut(q.get(k));
    touch.network = campaign.network = n;
  }
  if (from && !from.startsWith(location.origin + '/')) touch.referrer = from;
  return Object.keys(touch)[0] ? {campaign, touch, id: touch.clickID} : 0;
};
const person = () => {
  const t = Date.now(), p = self = may() && read(ID) || self;
  p.a ||= uuid();
  p.t ||= hex(16);
  t - p.last < 18e5 || (p.s = uuid());
  p.last = t;
  return p;
};
const add = (type, more) => {
  more = more && JSON.parse(JSON.stringify(more));
  const p = person(), s = type === 'page' && source(), ok = may();
  p.f ||= s.touch;
  if (ok) keep(ID, p);
  Object.assign(api, {anonymousID: p.a, traceID: p.t, touch: p.f});
  queue.push({id: uuid(), type, ts: now(), url: at, referrer: from, title: d.title.slice(0, 512),
    anonymous_id: p.a, trace_id: p.t, campaign: s.campaign, ...ok && {session_id: p.s, user_id: p.u, click_id: s.id},
    consent: {gpc, ...choice}, context: {user_agent: nav.userAgent, locale: nav.language, library: 'aurum.js',
      timezone: Intl.DateTimeFormat().resolvedOptions().timeZone,
      screen_width: screen.width, screen_height: screen.height}, ...more});
  queue.splice(busy, queue.length - 200);
  save();
  wait || setTimeout(send, 30);
};
// What fits: 64 KB when a page is left.
const pack = (one, left = 6e4) => queue.slice(0, 20).map(e => JSON.stringify({...e, sent_at: now()}))
  .filter((s, i) => (left -= new Blob([s]).size + 1) > 0 || one && !i);
const send = () => {
  if (busy || !queue[0]) return;
  const body = pack(1);
  busy = body.length;
  fetch(to, {method: 'POST', credentials: 'omit', keepalive: d.hidden, body: body.join('\n'),
    headers: {Authorization: 'Bearer ' + key}}).then(r => {
    if (/^5|408|429/.test(r.status)) throw 0;
    queue.splice(0, busy);
    busy = wait = 0;
    save();
    send();
  }).catch(() => {
    busy = 0;
    setTimeout(send, 1e3 * (wait = Math.min(wait * 2 || 1, 60)));
  });
};
// With what is under way.
const leave = () => queue[0] && nav.sendBeacon(to + '?key=' + key, pack().join('\n'));
const turn = () => here() !== at && (from = at, at = here(), add('page'));
const api = w.aurum = {
  track: (name, props) => add('track', {name, props}),
  identify: (id, traits) => {
    person().u = id;
    keep(ID, may() && self);
    add('identify', {traits, user_id: id});
  },
  consent: state => {
    if (state) {
      keep(CHOICE, choice = {...choice, ...state});
      may() || (self = {}, kept(keep));
      add('consent');
    }
    return {gpc, ...choice};
  }
};
kept(may() ? k => {
  if (k === ID) return;
  queue.push(...read(k) || []);
  keep(k);
} : keep);
add('page');
d.addEventListener('click', e => {
  const el = e.target.closest('[data-aurum-event],a[href]');
  const name = el?.dataset.aurumEvent || el?.host && el.host !== location.host && 'outbound_click';
  if (name) api.track(name, {href: el.href, text: cut(el.textContent)});
}, true);
const push = history.pushState;
history.pushState = (...a) => turn(push.apply(history, a));
addEventListener('popstate', turn);
d.addEventListener('visibilitychange', () => d.hidden && leave());
})(window, document, navigator);
