/*
 * The poll protocol of docs/protocol.md: one authority, V verifiers, K logouts.
 * Rule numbers are those of docs/guarantees.md. README.md says what is left out.
 * A switch in capitals seeds a mistake; check.sh shows that each is found.
 *
 * Time. A timer holds what is left until an instant on the clock of its owner,
 * not the instant: the protocol only asks "is it past?". So time has no bound
 * and the state space is finite all the same. At a tick of real time each clock
 * moves by SLOW or by FAST, chosen anew for each clock and tick; a mixture gives
 * any rate between. (1+rho)/(1-rho) = FAST/SLOW = 2, rho = 1/3. A slow verifier
 * keeps a lease for 3 ticks; a fast authority has waited D after 2. DA has no
 * margin. Any process may stand still between any two steps while time passes,
 * which is the pause.
 *
 * Network. What has been sent once may arrive at any later time, in any order,
 * any number of times, or never. A channel is therefore a set that only grows,
 * and the number of messages on the way has no bound.
 *
 * One session is watched, chosen at the start: the one whose logout takes
 * position w of the log. The other logouts move the head.
 */

#ifndef V
#define V 1             /* verifiers */
#endif
#ifndef K
#define K 2             /* logouts: positions of the log */
#endif
#ifndef INCS
#define INCS 2          /* incarnations of a verifier that are remembered at a time */
#endif
#define I (V * INCS)

#define SLOW 1
#define FAST 2
#ifndef D
#define D    3          /* larger: time in finer steps */
#endif
#if defined(WAIT_D)     /* rule 2 */
#define DA   D
#elif defined(WAIT_HALF_DRIFT) /* rule 2: D*(1+rho), as if only one clock could be wrong */
#define DA   (D * 4 / 3)
#else
#define DA   (D * FAST / SLOW)
#endif

#define BIT(n)     (1 << (n))
#define UPTO(k)    (BIT(k) - 1)       /* the set of entries 1..k */
#define ENTRY(k)   BIT((k) - 1)
#define age(t, r)  t = (t > r -> t - r : 0)

/* what a poller does next */
#define NOTE  0         /* note t_send */
#define SEND  1
#define WAIT  2         /* for the grant */
#define APPLY 3
#define RENEW 4
#define GONE  5         /* has stopped answering for good (rule 12) */

/* what a check does next */
#define START   0
#define COMPARE 1
#define LOOK    2

typedef Verifier {
  byte inc;             /* incarnation */
  byte deny;            /* the denylist, a set of entries */
  byte applied;         /* up to here everything is in it */
  byte lease;           /* timer: the deadline */

  byte step;            /* poller */
  byte sent;            /* timer: t_send + D of the newest poll */
  byte got;             /* head of the grant that is being taken in */
  byte grants;          /* network: heads of the grants that answer the newest poll */

  byte check;           /* check: one at a time, for they do not touch each other */
  byte seen;            /* timer: the deadline as the check has read it */
  bit  hit;
  bit  late;            /* started after the logout was answered */
  bit  again;           /* started after a refusal from the denylist */
  bit  refused;         /* not part of the process: survives it */
};

Verifier ver[V];

byte w;                 /* the watched position */
byte durable;           /* head of the log on disk: survives the authority */
byte head;              /* head that grants are made from */
byte boot;              /* timer: DA since the authority started */
byte owed[I];           /* timer: rec[inc].expires as the logout of w sees it; 0: nothing to wait for */
byte asked[I];          /* network: the applied positions in the polls of an incarnation */
byte freed;             /* network: incarnations that have sent a release */
bit  enforced;          /* the logout of w has been answered */
#if V * INCS == 1
#define NOBODY_OWED  (owed[0] == 0)
#elif V * INCS == 2
#define NOBODY_OWED  (owed[0] + owed[1] == 0)
#elif V * INCS == 3
#define NOBODY_OWED  (owed[0] + owed[1] + owed[2] == 0)
#elif V * INCS == 4
#define NOBODY_OWED  (owed[0] + owed[1] + owed[2] + owed[3] == 0)
#endif
#if V > 2 || K > 3 || V * INCS > 4
#error "V is at most 2, K at most 3, V * INCS at most 4"
#endif
#ifdef LIVE
byte crashes;           /* of the authority */
#endif

#ifdef GRANT_OUTSIDE_LOCK
bit  pend, pend_old;    /* a grant that is composed and not registered; its poll is not the newest */
byte pend_i, pend_a, pend_h;
#define outdate(i)  if :: pend && pend_i == i -> pend_old = 1 :: else fi
#define unpend()    pend = 0; pend_old = 0; pend_i = 0; pend_a = 0; pend_h = 0
#else
#define outdate(i)  skip
#define unpend()    skip
#endif

#ifdef REACH            /* shows that the model can do something */
bit  waits;             /* there was somebody to wait for when w became the head */
#define can(n, what)  assert(!(REACH == n && (what)))
#define note_wait()   if :: head == w && !NOBODY_OWED -> waits = 1 :: else fi
#else
#define can(n, what)  skip
#define note_wait()   skip
#endif

/* ---- time ---- */

proctype Time()
{
  byte n, r;
  do
  :: atomic {
      if
      :: r = SLOW
      :: r = FAST
      fi;
      d_step {
        age(boot, r);
        for (n : 0 .. I-1) { age(owed[n], r) }
        n = 0
      }
      do
      :: n < V ->
        if
        :: r = SLOW
        :: r = FAST
#ifdef MONOTONIC_ONLY   /* rule 9: the machine sleeps, and its monotonic clock with it */
        :: r = 0
#endif
        fi;
        d_step { age(ver[n].lease, r); age(ver[n].sent, r); age(ver[n].seen, r); n++ }
      :: else -> break
      od;
      n = 0; r = 0; printf("tick\n")
    }
  od
}

/* ---- authority ---- */

/* The logout of w waits for the last grant that was made without w. Later ones
   contain it. Without this difference an incarnation that goes on polling while
   its acknowledgements get lost holds the logout up for ever. */
#ifdef NO_FREEZE
#define register(i)  owed[i] = (enforced -> 0 : DA)
#else
#define register(i)  if :: head < w -> owed[i] = DA :: else fi
#endif

/* A grant for an older poll, or for an incarnation that is gone, will be
   ignored: its lease is noted, and it is lost on the way. */
#define OF(i)  ver[(i)/INCS]
#define transmit(i, a, h)  \
  if \
  :: OF(i).inc == i && OF(i).step == WAIT && OF(i).applied == a -> OF(i).grants = OF(i).grants | BIT(h) \
  :: else \
  fi

/* The poll of i with position a is there. One ahead of the head gets no grant; it exists
   only where the log has lost something. */
#define arrived(i, a)  ((asked[i] & BIT(a)) && a <= head)
#define ack(i, a)      if :: a >= w -> owed[i] = 0 :: else fi

/* A poll arrives and is held. It can be answered later, for what was sent may
   arrive again; or never. */
inline hold(a)
{
  d_step { arrived(i, a) && a >= w && owed[i] -> owed[i] = 0; printf("authority: incarnation %d has acknowledged %d\n", i, a) }
}

inline grant(a)
{
#ifndef GRANT_OUTSIDE_LOCK
  d_step {              /* rule 5: one lock around head, expires and grant */
    arrived(i, a) -> ack(i, a); register(i); transmit(i, a, head);
    printf("authority: grant to incarnation %d, head %d\n", i, head)
  }
#else
  d_step {
    arrived(i, a) && !pend -> ack(i, a); pend = 1; pend_i = i; pend_a = a; pend_h = head;
    printf("authority: composes a grant for incarnation %d, head %d\n", i, head)
  }
#endif
}

proctype Serve(byte i)
{
  do
  :: hold(1)  :: grant(0)  :: grant(1)
#if K > 1
  :: hold(2)  :: grant(2)
#endif
#if K > 2
  :: hold(3)  :: grant(3)
#endif
#ifdef GRANT_OUTSIDE_LOCK
  :: d_step { pend && pend_i == i ->
      register(i);
      if :: !pend_old -> transmit(i, pend_a, pend_h) :: else fi;
      unpend(); printf("authority: registers the grant and sends it\n")
    }
#endif
  :: d_step { (freed & BIT(i)) && owed[i] -> owed[i] = 0; printf("authority: incarnation %d has released\n", i) } /* rule 12 */
#ifdef LIVE
  :: i = i              /* nothing: polls may get lost for ever */
#endif
  od
}

proctype Logout()
{
  byte n;
  do
  :: d_step {
#ifdef ANSWER_BEFORE_COMMIT /* rule 8: w is committed after its answer */
      durable < K && (durable + 1 != w || enforced) ->
#else
      durable < K ->
#endif
      durable++; printf("authority: %d is durable\n", durable)
    }
  :: d_step {           /* rule 5: under the lock of the grants */
#if defined(ANSWER_BEFORE_COMMIT)
      head < durable || (head + 1 == w && durable + 1 == w) ->
#elif defined(GRANT_BEFORE_COMMIT) /* handed out before it is durable, answered after */
      head <= durable && head < K ->
#else
      head < durable ->
#endif
      head++; note_wait(); printf("authority: head is %d\n", head)
    }
  :: d_step {           /* the call, or the same call repeated, after a crash too */
#if defined(REPEAT_AT_ONCE) /* finds the session ended, and says so */
      !enforced && durable >= w ->
#elif defined(ANSWER_BEFORE_COMMIT)
      !enforced && head >= w && boot == 0 && NOBODY_OWED ->
#else
      !enforced && head >= w && durable >= w && boot == 0 && NOBODY_OWED ->
#endif
      can(2, waits && ver[0].applied >= w && ver[0].lease);
      can(3, waits && ver[0].inc % INCS && !asked[ver[0].inc]); /* it crashed and has not come back */
      enforced = 1; printf("authority: logout of %d is ENFORCED\n", w);
      for (n : 0 .. I-1) { owed[n] = 0 }
      n = 0
    }
  od
}

/* ---- verifier ---- */

inline receive(h)       /* the grant with head h that answers the newest poll */
{
  d_step { ver[v].step == WAIT && (ver[v].grants & BIT(h)) ->
    ver[v].grants = 0; outdate(ver[v].inc);
    ver[v].got = h;
#ifdef LEASE_FROM_RECEIPT /* rule 1 */
    if :: v == 0 -> ver[v].sent = D :: else fi;
#endif
#ifdef ACK_BEFORE_APPLY /* rule 3 */
    asked[ver[v].inc] = asked[ver[v].inc] | BIT(h);
#endif
#ifdef LEASE_BEFORE_APPLY
    ver[v].step = RENEW;
#else
    ver[v].step = APPLY;
#endif
    printf("verifier %d: receives the grant, head %d\n", v, h)
  }
}

proctype Poller(byte v)
{
  do
  :: d_step { ver[v].step == NOTE ->
      if :: v == 0 -> ver[v].sent = D :: else fi; /* nobody would read the timers of the others */
      ver[v].step = SEND; printf("verifier %d: notes t_send\n", v)
    }
  :: d_step { ver[v].step == SEND ->
      asked[ver[v].inc] = asked[ver[v].inc] | BIT(ver[v].applied);
      ver[v].step = WAIT; printf("verifier %d: polls as incarnation %d, applied %d\n", v, ver[v].inc, ver[v].applied)
    }
  :: d_step { ver[v].step == WAIT -> /* gives up: answers to this poll are not to its newest any more */
#ifndef ANY_GRANT
      ver[v].grants = 0;
#endif
      outdate(ver[v].inc);
      ver[v].sent = 0; ver[v].step = NOTE; printf("verifier %d: gives up the poll\n", v)
    }
  :: receive(0)  :: receive(1)
#if K > 1
  :: receive(2)
#endif
#if K > 2
  :: receive(3)
#endif
  :: d_step { ver[v].step == APPLY ->
#ifdef GRANT_WITHOUT_ENTRIES /* rule 7: it carried the newest of the missed entries only */
      if :: ver[v].got > ver[v].applied -> ver[v].deny = ver[v].deny | ENTRY(ver[v].got) :: else fi;
#else
      ver[v].deny = ver[v].deny | UPTO(ver[v].got);
#endif
      ver[v].applied = ver[v].got;
#ifdef LEASE_BEFORE_APPLY
      ver[v].got = 0; ver[v].step = NOTE;
#else
      ver[v].step = RENEW;
#endif
      printf("verifier %d: has the entries up to %d\n", v, ver[v].applied)
    }
  :: d_step { ver[v].step == RENEW -> /* rule 1: t_send + D */
      ver[v].lease = ver[v].sent; ver[v].sent = 0;
#ifdef LEASE_BEFORE_APPLY
      ver[v].step = APPLY;
#else
      ver[v].got = 0; ver[v].step = NOTE;
#endif
      printf("verifier %d: lease for %d\n", v, ver[v].lease)
    }
  :: d_step { ver[v].step == NOTE -> /* rule 12: stops answering, and only then */
      ver[v].lease = 0; ver[v].step = GONE; printf("verifier %d: shuts down\n", v)
    }
  :: d_step {
#ifdef RELEASE_FIRST
      ver[v].step == NOTE ->
#else
      ver[v].step == GONE ->
#endif
      freed = freed | BIT(ver[v].inc); printf("verifier %d: sends the release of incarnation %d\n", v, ver[v].inc)
    }
#ifdef LIVE
  :: v = v              /* nothing: it may stand still for ever */
#endif
  od
}

/* A check is three steps, and anything may happen between them. It starts with
   its first read: a check that started earlier has promised less. It is answered
   with its look-up, for nothing after that changes the outcome. */
#define begin(v)  ver[v].late = enforced; ver[v].again = ver[v].refused
#define end(v)    ver[v].late = 0; ver[v].again = 0; ver[v].seen = 0; ver[v].hit = 0; ver[v].check = START
#define look(v)   ver[v].hit = ((ver[v].deny & ENTRY(w)) -> 1 : 0)

inline answer(v)
{
  if
  :: ver[v].hit ->
    printf("verifier %d: check REFUSES\n", v);
    can(4, ver[v].late && ver[v].inc % INCS);
    ver[v].refused = 1
  :: else ->
    printf("verifier %d: check ACCEPTS, late %d, again %d\n", v, ver[v].late, ver[v].again);
    can(1, true);
    assert(!ver[v].late);   /* final */
    assert(!ver[v].again)   /* monotone */
  fi;
  end(v)
}

proctype Check(byte v)
{
  do
  :: d_step { ver[v].check == START && ver[v].step != GONE ->
      begin(v);
#ifdef LOOKUP_BEFORE_DEADLINE /* rule 4: two steps change places, look and read */
      look(v); ver[v].check = LOOK;
      printf("verifier %d: check starts, hit %d\n", v, ver[v].hit)
#else
      ver[v].seen = ver[v].lease; ver[v].check = COMPARE;
      printf("verifier %d: check starts, reads a deadline %d away\n", v, ver[v].seen)
#endif
    }
#ifdef LOOKUP_BEFORE_DEADLINE
  :: d_step { ver[v].check == LOOK ->
      ver[v].seen = ver[v].lease; ver[v].check = COMPARE;
      printf("verifier %d: check reads a deadline %d away\n", v, ver[v].seen)
    }
#endif
  :: d_step { ver[v].check == COMPARE ->
      if
      :: ver[v].seen == 0 -> printf("verifier %d: check is STALE\n", v); end(v)
#ifdef LOOKUP_BEFORE_DEADLINE
      :: else -> answer(v)
#else
      :: else -> ver[v].seen = 0; ver[v].check = LOOK; printf("verifier %d: check has a lease\n", v)
#endif
      fi
    }
#ifndef LOOKUP_BEFORE_DEADLINE
  :: d_step { ver[v].check == LOOK -> look(v); answer(v) }
#endif
  od
}

/* ---- crashes ---- */

/* Down time is no state of its own: a process that has just restarted may stand
   still for as long, and nobody can tell the difference. */

#define NEXT(v)  (v * INCS + (ver[v].inc + 1) % INCS)

inline restart(v)       /* takes the number of the oldest incarnation, once nobody waits for that */
{
  d_step {
    owed[NEXT(v)] == 0 ->
    outdate(ver[v].inc);
    ver[v].inc = NEXT(v);
    asked[ver[v].inc] = 0; freed = freed & ~BIT(ver[v].inc); /* its messages are lost */
#ifdef GRANT_OUTSIDE_LOCK
    if :: pend && pend_i == ver[v].inc -> unpend() :: else fi;
#endif
    ver[v].deny = 0; ver[v].applied = 0; ver[v].lease = 0;
    ver[v].step = NOTE; ver[v].sent = 0; ver[v].got = 0; ver[v].grants = 0;
    end(v);
    printf("verifier %d: RESTARTS as incarnation %d\n", v, ver[v].inc)
  }
}

proctype Crash()
{
  byte n;
  do
#ifdef LIVE             /* an authority that crashes for ever answers nothing */
  :: d_step { crashes < 1 -> crashes++;
#else
  :: d_step {
#endif
      head = durable;   /* rule 6: rolled forward; the leases are forgotten */
      for (n : 0 .. I-1) { owed[n] = 0 }
      n = 0; unpend();
#ifndef NO_WAIT_AFTER_RESTART
      boot = (enforced -> 0 : DA);
#endif
      printf("authority: RESTARTS\n")
    }
#if INCS > 1
  :: restart(0)
#if V > 1
  :: restart(1)
#endif
#endif
#ifdef LIVE
  :: n = 0              /* nothing: no crash need ever happen */
#endif
  od
}

init
{
  byte n;
  atomic {
    select(w : 1 .. K);
    for (n : 0 .. V-1) { ver[n].inc = n * INCS; run Poller(n) }
    for (n : 0 .. I-1) { run Serve(n) }
    n = 0;
#ifndef LIVE
    run Check(0);       /* verifiers are alike: what holds for one holds for each */
#endif
    run Time(); run Logout(); run Crash();
    printf("watched: %d\n", w)
  }
}

#ifdef LIVE
ltl live { <> enforced }
#endif
