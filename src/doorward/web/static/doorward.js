// What the pages do by themselves: look for news, count time down, see that a statement was on the screen, sign votes, end
// sessions, disable agents, register and revoke keys. Text goes into the page as text only.

const byId = (id) => document.getElementById(id);
const csrf = document.querySelector('meta[name=csrf]')?.content ?? '';

class Refused extends Error {
  constructor(status, error, hint) {
    super(hint ? `${error}. ${hint}` : error);
    this.status = status;
  }
}

async function call(method, path, body, { live = false, signal } = {}) {
  const headers = { accept: 'application/json' };
  if (live) headers['x-doorward-live'] = '1';
  if (method !== 'GET') headers['x-doorward-csrf'] = csrf;
  if (body !== undefined) headers['content-type'] = 'application/json';
  const answer = await fetch(path, {
    method, headers, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: 'same-origin',
    redirect: 'error', cache: 'no-store',
  });
  const said = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Refused(answer.status, said.error ?? `status ${answer.status}`, said.hint);
  return said;
}

const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const shown = () => document.visibilityState === 'visible';
const untilShown = () => new Promise((done) => {
  if (shown()) return done();
  document.addEventListener('visibilitychange', function look() {
    if (shown()) { document.removeEventListener('visibilitychange', look); done(); }
  });
});

let leaving = false; // one reason to load the page again is enough
let signing = false; // what comes of our own vote is no news

function reload(said) {
  if (leaving) return;
  leaving = true;
  sessionStorage.setItem('focus', document.activeElement?.id ?? '');
  sessionStorage.setItem('said', said);
  location.reload();
}

function arrived() {
  const focus = sessionStorage.getItem('focus');
  const said = sessionStorage.getItem('said');
  sessionStorage.removeItem('focus');
  sessionStorage.removeItem('said');
  if (focus) byId(focus)?.focus({ preventScroll: true });
  if (said) say(said);
}

function say(text) {
  byId('said').textContent = text;
  setTimeout(() => { byId('said').textContent = ''; }, 6000);
}

function trouble(error) {
  const place = byId('trouble');
  if (!place) return say(error.message);
  place.textContent = error.message;
  place.hidden = false;
}

// Time that is left -----------------------------------------------------------------------------------------------------

function lasting(ms) {
  const seconds = Math.floor(ms / 1000);
  if (seconds < 60) return `${Math.max(0, seconds)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds / 60) % 60} min`;
}

function countDown() {
  const times = [...document.querySelectorAll('time[data-left]')].map((place) => [place, Number(place.dataset.left)]);
  const begun = performance.now();
  if (times.length) setInterval(() => {
    for (const [place, left] of times) place.textContent = lasting(left - (performance.now() - begun));
  }, 1000);
}

// News ------------------------------------------------------------------------------------------------------------------

async function lookForNews(place) {
  const known = place.dataset.news;
  for (;;) {
    await pause(4000);
    await untilShown();
    try {
      const found = await call('GET', place.dataset.from, undefined, { live: true });
      const news = found.map((one) => (one.votes ? `${one.id}:${one.state}:${one.votes.length}` : one.id)).join(' ');
      if (news !== known) return reload('Updated');
    } catch (error) {
      if (error.status === 401) return location.reload();
    }
  }
}

// A recording that grows is shown again when more of it is sealed: each time that somebody is shown something, it is on record.
async function follow(place) {
  const bottom = () => window.innerHeight + window.scrollY >= document.documentElement.scrollHeight - 40;
  if (sessionStorage.getItem('bottom')) window.scrollTo(0, document.documentElement.scrollHeight);
  sessionStorage.removeItem('bottom');
  for (;;) {
    await pause(2000);
    await untilShown();
    try {
      const now = await call('GET', `/api/sessions/${place.dataset.live}`, undefined, { live: true });
      if (`${now.state}:${now.segments}` === place.dataset.known) continue;
      if (bottom()) sessionStorage.setItem('bottom', '1');
      return reload(now.state === 'open' ? 'More was sealed' : 'The session is over');
    } catch (error) {
      if (error.status === 401 || error.status === 404) return location.reload();
    }
  }
}

// One request -----------------------------------------------------------------------------------------------------------

async function watchRequest(article) {
  const { id, state, votes } = article.dataset;
  if (!['waiting', 'parked', 'approved'].includes(state)) return;
  for (;;) {
    if (state === 'approved') await pause(2000); // until it is used, or its time is over
    await untilShown();
    try {
      const now = await call('GET', `/api/approvals/${id}/wait?seconds=20`, undefined, { live: true });
      if (signing) {
        await pause(1000);
        continue;
      }
      if (now.state !== state && !(now.state === 'waiting' || now.state === 'parked')) {
        byId('decide')?.remove();
        return reload(`This request is ${now.state}`);
      }
      if (String(now.votes.length) !== votes || now.state !== state) return reload('Updated');
    } catch (error) {
      if (error.status === 401 || error.status === 404) return location.reload();
      await pause(4000);
    }
  }
}

// Approve works once each part of the statement, and of the values bound to it, has been on the screen whole.
function whenAllSeen(done) {
  const parts = new Set(document.querySelectorAll('.part'));
  const total = parts.size;
  byId('unread').hidden = false;
  const tell = () => { byId('unread-count').textContent = `${parts.size} of ${total} parts`; };
  tell();
  const observer = new IntersectionObserver((entries) => {
    if (!shown()) return;
    for (const entry of entries) {
      if (entry.isIntersecting && entry.intersectionRatio >= 0.98) {
        parts.delete(entry.target);
        observer.unobserve(entry.target);
      }
    }
    tell();
    if (!parts.size) {
      observer.disconnect();
      byId('unread').hidden = true;
      done();
    }
  }, { threshold: [0, 0.5, 0.98, 1] });
  for (const part of parts) observer.observe(part);
}

function voting(article) {
  const { id } = article.dataset;
  const [approve, deny, sign] = [byId('approve'), byId('deny'), byId('sign')];
  const review = 'review' in byId('decide').dataset;
  let ballot = null;
  let yes = false;
  deny.disabled = false;
  whenAllSeen(() => { approve.disabled = false; });

  async function ask(wanted) {
    byId('trouble').hidden = true;
    yes = wanted;
    try {
      ballot = await call('POST', `/api/approvals/${id}/ballot`, review ? { approve: yes, review } : { approve: yes });
    } catch (error) {
      return trouble(error);
    }
    const many = byId('request').dataset.grant === '1' ? 'yes: statements may run within these limits' : 'yes: it may run, once';
    byId('ballot-word').textContent = review ? (yes ? 'that it was justified' : 'that it was not justified')
      : yes ? many : 'no, which is final';
    byId('words').textContent = ballot.words;
    byId('no-key').hidden = Boolean(ballot.webauthn);
    byId('cli').textContent = review ? `doorward approvals review ${id}${yes ? '' : ' --unjustified'} --comment "..."`
      : `doorward approvals ${yes ? 'approve' : 'deny'} ${id}`;
    sign.textContent = `Sign \u201c${yes ? 'yes' : 'no'}\u201d with a passkey`;
    sign.hidden = !ballot.webauthn;
    document.querySelector('#decide .ask').hidden = true;
    byId('ballot').hidden = false;
    (ballot.webauthn ? sign : byId('back')).focus();
    return undefined;
  }

  approve.addEventListener('click', () => ask(true));
  deny.addEventListener('click', () => ask(false));
  byId('back').addEventListener('click', () => {
    byId('ballot').hidden = true;
    document.querySelector('#decide .ask').hidden = false;
    (yes ? approve : deny).focus();
  });
  sign.addEventListener('click', async () => {
    byId('trouble').hidden = true;
    sign.disabled = signing = true;
    try {
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(ballot.webauthn);
      const credential = (await navigator.credentials.get({ publicKey })).toJSON();
      const said = { comment: byId('comment').value, request: ballot.request, signature: { method: 'webauthn', credential } };
      if (review) {
        await call('POST', `/api/approvals/${id}/review`, { justified: yes, ...said });
        byId('decide').remove();
        return reload('Your review is on record');
      }
      const voted = await call('POST', `/api/approvals/${id}/votes`, { approve: yes, ...said });
      byId('decide').remove();
      reload(`Your ${yes ? 'yes' : 'no'} is on record: the request is ${voted.state}`);
    } catch (error) {
      trouble(error.name === 'NotAllowedError' ? new Error('Nothing was signed: the passkey said no, or nobody touched it') : error);
      sign.disabled = signing = false;
    }
    return undefined;
  });
}

// Sessions and keys -----------------------------------------------------------------------------------------------------

// A button that does something only when it is pressed again.
function twice(button, question, act) {
  const name = button.textContent;
  let sure = false;
  button.addEventListener('click', async () => {
    if (!sure) {
      sure = true;
      button.textContent = question;
      setTimeout(() => { sure = false; if (!button.disabled) button.textContent = name; }, 5000);
      return;
    }
    button.disabled = true;
    try {
      await act();
    } catch (error) {
      trouble(error);
      button.disabled = false;
    }
  });
}

function ending(button) {
  twice(button, 'Really end it?', async () => {
    await call('POST', `/api/sessions/${button.dataset.end}/end`, {});
    button.textContent = 'Ended';
    await pause(1500); // the list lags the sessions a little
    reload('The session was ended');
  });
}

function disabling(button) {
  twice(button, 'Really disable it?', async () => {
    await call('POST', `/api/agents/${encodeURIComponent(button.dataset.disable)}/disable`, {});
    reload('The agent is let in nowhere');
  });
}

function registering() {
  const button = byId('register-passkey');
  button.disabled = !window.PublicKeyCredential;
  button.addEventListener('click', async () => {
    byId('trouble').hidden = true;
    const name = byId('key-name').value.trim();
    if (!name) {
      trouble(new Error('Give it a name first'));
      return byId('key-name').focus();
    }
    button.disabled = true;
    try {
      const options = await call('POST', '/api/keys/webauthn/options', {});
      const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey ?? options);
      const credential = (await navigator.credentials.create({ publicKey })).toJSON();
      await call('POST', '/api/keys/webauthn', { name, credential });
      reload(`The passkey ${name} can sign your votes now`);
    } catch (error) {
      trouble(error.name === 'NotAllowedError' ? new Error('No passkey was made') : error);
      button.disabled = false;
    }
    return undefined;
  });
}

function revoking(button) {
  twice(button, 'Revoke for good?', async () => {
    await call('DELETE', `/api/keys/${encodeURIComponent(button.dataset.revoke)}`);
    reload('The key is revoked');
  });
}

arrived();
countDown();
const news = document.querySelector('[data-news]');
if (news) lookForNews(news);
const followed = document.querySelector('[data-live]');
if (followed) follow(followed);
const article = byId('request');
if (article) watchRequest(article);
if (byId('decide')) voting(article);
for (const button of document.querySelectorAll('[data-end]')) ending(button);
for (const button of document.querySelectorAll('[data-revoke]')) revoking(button);
for (const button of document.querySelectorAll('[data-disable]')) disabling(button);
if (byId('register')) registering();
