/* The protocol of one lane: flip, bell, claim, request, finish, recovery. For Spin; `make model` checks every configuration.
 *
 * README.md beside this file says what each process stands for in the code, what is asserted, and what is left out.
 *
 * Switches (-D)
 *   WORKERS, ROWS      1 or 2
 *   APPLICATIONS       and FLIPS: transactions of each
 *   WITHDRAWALS=1      an application may also withdraw
 *   ONE_ADDRESS=1      both rows have one address, and so one record in the CRM
 *   TICK=1             there is a tick
 *   LOSSES             how often a session is cut
 *   DEATH=1            worker 0 is killed once
 *   BELL=0             no bell: a worker looks whenever there is something to see. Whatever a worker that is woken does, such a one
 *                      does too, so what never happens here never happens with a bell, except that contacts are stranded
 *   ORDER_AFTER_DEATH  asks for more than is promised
 *   BROKEN_...         takes one rule out, to show that the model can fail
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef APPLICATIONS
#define APPLICATIONS 2
#endif
#ifndef ROWS
#define ROWS 1
#endif
#ifndef FLIPS
#define FLIPS 1
#endif
#ifndef WITHDRAWALS
#define WITHDRAWALS 0
#endif
#ifndef TICK
#define TICK 0
#endif
#ifndef LOSSES
#define LOSSES 0
#endif
#ifndef DEATH
#define DEATH 0
#endif
#ifndef BELL
#define BELL 1
#endif
#ifndef ONE_ADDRESS
#define ONE_ADDRESS 0
#endif
#define SESSIONS_END (LOSSES + DEATH > 0)
#define NONE 255
#define FREE 0

/* sync_status of a row. */
mtype = { New, Queued, Processing, Complete, Skipped };

/* Advisory locks. */
#if BELL
byte armed = NONE;             /* the bell, exclusive: the worker that has armed it */
byte uncommitted = 0;          /* the bell, shared: transactions that have flipped */
byte keeper = NONE;
#endif
bool session[WORKERS];         /* the lock on the worker's id: it has a session, and listens */

#if ONE_ADDRESS
byte address = NONE;           /* the address: the worker that has it in a request */
byte alone = NONE;             /* exclusive: the worker that locks no addresses */
bool company[WORKERS];         /* shared: what each needs before it claims */
bool lets_in[WORKERS];         /* it is giving up being alone, in a session that may be lost meanwhile */
#endif

/* The rows, as committed. */
mtype sync[ROWS] = New;
bool due[ROWS];                /* due_at is set: the row has a place in line */
bool lined[ROWS];              /* there is a line with its due time. Lines with another one are stepped over, and left out here */
byte claim_by[ROWS] = NONE;    /* claimed_by: worker */
byte claim_no[ROWS];           /* claimed_by: number of the claim */
byte version[ROWS];            /* of what is to be sent: each committed flip makes a new one */
byte row_lock[ROWS] = FREE;    /* 1 + application whose transaction has written it */

byte flips = 0;                /* the last version of all */
#if ONE_ADDRESS
bool put_back[ROWS];           /* due_at is later than flipped_at: others may have overtaken it */
#endif

/* The CRM. */
#if ONE_ADDRESS
#define RECORDS 1
#define record(r) 0
#else
#define RECORDS ROWS
#define record(r) r
#endif
byte at_crm[RECORDS];          /* the version that came last */
byte newest[ROWS];             /* of each row the newest version that ever came */
byte requests[RECORDS];        /* under way for this record */

/* The memory of each worker. */
#if BELL
bool asked[WORKERS];           /* the event that wakes its lane */
#endif
bool known[WORKERS];           /* it has had a session, and is in the registry */
bool in_hand[WORKERS];         /* a contact is in its hand */
byte hand_row[WORKERS];
byte hand_version[WORKERS];    /* as the claim returned it */
byte hand_no[WORKERS];
bool held[WORKERS];            /* the session in which it was claimed is still there */
bool dead[WORKERS];
#if SESSIONS_END && WORKERS > 1
bool orphan[WORKERS];          /* its recovery has found a claim of the other worker, */
byte orphan_no[WORKERS];       /* with this number */
#endif
bool seen[WORKERS * ROWS];     /* its claim has seen the row in line, and the due time is still that of the line */
#if ONE_ADDRESS
bool believes[WORKERS];        /* that it is alone */
bool busy[WORKERS];            /* another worker has the address of the contact in its hand */
bool locked[WORKERS];          /* its own lock on that address */
bool late[WORKERS];            /* the contact in its hand had been put back */
#endif

#define ready(r) (sync[r] == Queued && due[r] && claim_by[r] == NONE)
#define orphaned(r) (claim_by[r] != NONE && (dead[claim_by[r] % WORKERS] || !session[claim_by[r] % WORKERS]))
#ifdef BROKEN_NO_RECOVERY
#undef orphaned
#define orphaned(r) false
#endif
#define in_line(r) (ready(r) && lined[r])
#define sees(r) seen[me * ROWS + r]
/* A line that a claim has seen leads to the row no more. */
#if WORKERS == 1
#define new_due(r) due[r] = true; seen[r] = false
#else
#define new_due(r) due[r] = true; seen[r] = false; seen[ROWS + r] = false
#endif
#define end_claim(r) claim_by[r] = NONE; claim_no[r] = 0
/* Every claim of a worker has a number of its own. Here it is the first by which none of them is known any more: to whom
 * a number means nothing, any other means the same, so this leaves no order of steps out, and saves most of the states. */
#define is_claim(n, r) claim_by[r] == me && claim_no[r] == n
#if ROWS == 1
#define is_claimed(n) is_claim(n, 0)
#else
#define is_claimed(n) (is_claim(n, 0) || is_claim(n, 1))
#endif
#if SESSIONS_END && WORKERS > 1
#define is_known(n) (is_claimed(n) || orphan[1 - me] && orphan_no[1 - me] == n)
#else
#define is_known(n) is_claimed(n)
#endif
/* Its line goes with it, or stands for nobody. */
#define no_due(r) due[r] = false; lined[r] = false
#if ONE_ADDRESS
#define note_put_back(r, what) put_back[r] = what
/* In the order of due_at: whoever was put back comes after the others, and those in any order. */
#define in_turn(r) !(in_line(1 - r) && !put_back[1 - r] && (put_back[r] || version[1 - r] < version[r]))
#else
#define in_turn(r) true
#define note_put_back(r, what) skip
#endif
#if ONE_ADDRESS
#define may_be_alone (alone == NONE && !company[1 - me] && !lets_in[me])
#else
#define may_be_alone false
#endif
#if ROWS == 1
#define any_unlined (due[0] && !lined[0])
#define any_in_line in_line(0)
#define any_orphaned orphaned(0)
#define any_claimable (in_line(0) && row_lock[0] == FREE)
#else
#define any_unlined (due[0] && !lined[0] || due[1] && !lined[1])
#define any_in_line (in_line(0) || in_line(1))
#define any_orphaned (orphaned(0) || orphaned(1))
#define any_claimable (in_line(0) && row_lock[0] == FREE || in_line(1) && row_lock[1] == FREE)
#endif

/* What COMMIT of a flip or a withdrawal makes visible. The trigger adds a line where the row gets its place, for it saw none. */
#ifdef BROKEN_NO_LINE_OF_A_FLIP
#define flip_line(r) skip
#else
#define flip_line(r) lined[r] = true
#endif
inline make_visible(r, word, in_flight) {
    sync[r] = word; row_lock[r] = FREE;
    if
    :: in_flight
    :: !in_flight && word == Queued ->
        note_put_back(r, false);
        if :: !due[r] -> new_due(r); flip_line(r) :: else fi
    :: !in_flight && word != Queued -> no_due(r)
    fi
}

#if BELL
#define ask_lane(w) asked[w] = true
inline ring() {
    if :: session[0] -> ask_lane(0) :: else fi;
#if WORKERS > 1
    if :: session[1] -> ask_lane(1) :: else fi
#endif
}

/* The trigger: the row is under its lock. */
inline try_bell(holds, rings) {
    if
    :: armed == NONE -> uncommitted++; holds = true
    :: else -> rings = true
    fi
}

/* Its transaction has ended. */
inline let_go_of_bell(holds) {
    if :: holds -> uncommitted--; holds = false :: else fi
}
inline ring_if(rings) {
    if :: rings -> ring(); rings = false :: else fi
}
#define forget_bell() holds = false; rings = false
#define want_look() ask = true
#else
#define ask_lane(w) skip
#define want_look() skip
#endif

/* One application: transactions that edit a contact and flip it, or withdraw it, and commit or roll back. */
proctype Application(byte me) {
    byte row, made = 0;
    bool in_flight;
#if BELL
    bool rings, holds;
#endif
    mtype word;
    do
    :: made < FLIPS ->
        if
        :: row = 0
#if ROWS > 1
        :: row = 1
#endif
        fi;
        if
        :: word = Queued
#if WITHDRAWALS
        :: word = Skipped
#endif
        fi;
        /* UPDATE waits for the row's lock; the trigger sees the row as it is under it. */
        atomic { row_lock[row] == FREE -> row_lock[row] = 1 + me; in_flight = (claim_by[row] != NONE) }
#if BELL
        atomic {
            if
            :: in_flight || word != Queued
            :: else -> try_bell(holds, rings)
            fi
        }
#endif
        if
        :: /* COMMIT. Its rows are visible and unlocked at once, then its advisory locks go, then notifications are sent. */
#ifdef BROKEN_LOCKS_END_FIRST
            atomic { let_go_of_bell(holds) }
#endif
            atomic { flips++; version[row] = flips; make_visible(row, word, in_flight); row = 0; in_flight = false; word = 0 }
#if BELL
#ifndef BROKEN_LOCKS_END_FIRST
            atomic { let_go_of_bell(holds) }
#endif
#ifndef BROKEN_SILENT_FLIP
            atomic { ring_if(rings) }
#endif
#endif
        :: /* ROLLBACK */
            row_lock[row] = FREE;
#if BELL
            atomic { let_go_of_bell(holds) }
#endif
        fi;
        atomic {
            made++; row = 0; in_flight = false; word = 0;
#if BELL
            forget_bell()
#endif
        }
    :: else -> break
    od
}

/* In line once more, after the others, with a line of the new due time in place of the former one. */
#ifdef BROKEN_NO_LINE_OF_A_FINISH
#define line_up(r) new_due(r); note_put_back(r, true); lined[r] = false
#else
#define line_up(r) new_due(r); note_put_back(r, true); lined[r] = true
#endif

/* What makes no difference any more is forgotten, as everywhere here: a state in which it differs is no other state. */
#if ROWS == 1
#define forget_claim() sees(0) = false
#else
#define forget_claim() sees(0) = false; sees(1) = false
#endif

#if BELL
#define forget_nap() napped = false
#else
#define forget_nap() skip
#endif

/* The lane of one worker, and its session. */
proctype Lane(byte me) {
    byte row, number = 0;
    bool claimed;
#if BELL
    bool napped = false;
#endif
#if SESSIONS_END && WORKERS > 1
    bool gone;
#endif
    {
        row = 0;
opening:
        atomic { session[me] = true; known[me] = true }
#if ONE_ADDRESS
        /* Session: no claim before whoever is alone has locked the addresses of its requests. */
        if
        :: atomic { session[me] && alone == NONE -> company[me] = true }
        :: SESSIONS_END && !session[me] -> goto opening
#ifdef BROKEN_NO_COMPANY
        :: true
#endif
        fi;
#endif
recovery:
#if ONE_ADDRESS
        atomic {
            if
            :: session[me] && may_be_alone -> alone = me; believes[me] = true
            :: else
            fi
        }
#endif
#if SESSIONS_END && WORKERS > 1
        /* find_dead_workers, find_orphans, finish_contacts: three statements. The last is fenced, and skips a locked row. */
#ifndef BROKEN_NO_RECOVERY
        gone = (known[1 - me] && !session[1 - me]);
#endif
        row = 0;
        do
        :: gone && row < ROWS ->
            atomic {
                orphan[me] = (claim_by[row] == 1 - me && lined[row]);
                orphan_no[me] = (orphan[me] -> claim_no[row] : 0)
            }
            atomic {
                if
                :: orphan[me] && claim_by[row] == 1 - me && claim_no[row] == orphan_no[me] && row_lock[row] == FREE ->
                    end_claim(row);
                    if
                    :: sync[row] == Processing -> sync[row] = Queued; line_up(row)
                    :: sync[row] == Queued -> line_up(row)
                    :: else -> no_due(row)
                    fi
                :: else
                fi;
                orphan[me] = false; orphan_no[me] = 0; row++
            }
        :: else -> break
        od;
        gone = false; row = 0;
#endif
#if TICK
        /* add_missing_lines: the full look finds rows in line and in flight that lack theirs. */
        atomic {
            row = 0;
            do
            :: row < ROWS -> if :: due[row] && !lined[row] -> lined[row] = true :: else fi; row++
            :: else -> row = 0; break
            od
        }
#endif
        ask_lane(me);
room:
#if !BELL
end_without_work:
#endif
        /* Lane._room: the session open, a hand free. A session that is cut is noticed sooner or later. */
        if
        :: SESSIONS_END && !session[me] -> goto opening
#if BELL
        :: in_hand[me] ->
            atomic { if :: armed == me -> armed = NONE :: else fi }
            (!in_hand[me]);
            goto room
#elif TICK
        :: session[me] && (any_unlined || any_orphaned || may_be_alone) -> goto recovery
#endif
        /* Lane._claim. The statement sees what was committed when it began, locks what nobody else has, and looks again. */
        :: atomic {
#if BELL
            !in_hand[me] -> asked[me] = false;
#else
            !in_hand[me] && any_in_line ->
#endif
            claimed = false; row = 0;
#ifdef BROKEN_CLAIMED_AGAIN
            sees(0) = (sync[0] != New && due[0]);
#else
            sees(0) = in_line(0);
#endif
#if ROWS > 1
            sees(1) = in_line(1)
#endif
        }
        fi;
        do
        :: row < ROWS && !claimed ->
            atomic {
                if
#if defined(BROKEN_CLAIMED_AGAIN) || defined(BROKEN_NO_SECOND_LOOK)
                :: sees(row) && row_lock[row] == FREE ->
#else
                :: sees(row) && row_lock[row] == FREE && ready(row) && in_turn(row) ->
#endif
                    number = 0;
                    do
                    :: is_known(number) -> number++
                    :: else -> break
                    od;
                    claim_by[row] = me; claim_no[row] = number; sync[row] = Processing;
                    in_hand[me] = true; hand_row[me] = row; hand_version[me] = version[row]; hand_no[me] = number; number = 0;
                    held[me] = session[me]; claimed = true;
#if ONE_ADDRESS
                    /* The addresses of a claim are locked right after it. */
                    late[me] = put_back[row]; put_back[row] = false;
                    if
                    :: believes[me]
#ifdef BROKEN_NO_ADDRESS_LOCK
                    :: true
#else
                    :: !believes[me] && session[me] && address == NONE -> address = me; locked[me] = true
                    :: !believes[me] && address != NONE -> busy[me] = true
                    :: !session[me]
#endif
                    fi
#endif
#ifdef BROKEN_LINE_OF_A_LOCKED_ROW
                :: sees(row) && row_lock[row] != FREE -> lined[row] = false; row++
#endif
                :: else -> row++
                fi
            }
        :: else -> break
        od;
        atomic {
            row = 0; forget_claim()
#if !BELL
            ; claimed = false
#endif
        }
#if BELL
        /* Wake.rest */
        if
        :: claimed ->
            claimed = false; napped = false;
            if
            :: atomic { armed == me -> armed = NONE }; goto room      /* the claim came back full, or flips come closely */
            :: armed != me -> goto room
            :: armed == me
            fi
        :: else
        fi;
        /* Wake.sleep: keep, arm, look, wait */
        if
        :: atomic { session[me] -> if :: keeper == NONE -> keeper = me :: else fi }
        :: SESSIONS_END && !session[me] -> goto opening
        fi;
        if
        :: keeper != me
#ifdef BROKEN_ARMS_ALWAYS
        :: atomic { keeper == me && (armed == NONE || armed == me) -> armed = me }
#else
        :: atomic { keeper == me && (armed == me || armed == NONE && uncommitted == 0) -> armed = me }
        :: keeper == me && armed != me && uncommitted > 0 -> goto refused
#endif
        fi;
#ifndef BROKEN_NO_LOOK
        if
        :: any_in_line -> goto held_up      /* committed before the bell was armed, or its row is locked */
        :: else -> napped = false
        fi;
#endif
#ifdef BROKEN_LATE_CLEAR
        asked[me] = false;
#endif
end_asleep:
        if
        :: asked[me] -> goto room
#if TICK
        /* Where a tick finds nothing it changes nothing, and is left out. */
        :: atomic { session[me] && (keeper == NONE || any_in_line || any_unlined || any_orphaned) -> if :: keeper == NONE -> keeper = me :: else fi };
           goto recovery
#endif
#if SESSIONS_END
        :: !session[me] -> goto opening
#endif
        fi;
        /* Wake._nap: some time, then it looks again. Once without a reason, then as soon as a look is worth while, or it would never
         * be quiet and nothing would be judged. */
refused:
        if
        :: !napped -> napped = true
        :: napped && (uncommitted == 0 || asked[me] || SESSIONS_END && !session[me])
        fi;
        goto room;
held_up:
        if
        :: !napped -> napped = true
        :: napped && (any_claimable || !any_in_line || asked[me] || SESSIONS_END && !session[me])
        fi;
#endif
        goto room
    }
#if DEATH
    unless { atomic { dead[me] -> row = 0; number = 0; claimed = false; forget_nap(); forget_claim() } }
#endif
}

#define land() \
    at_crm[record(row)] = hand_version[me]; \
    if :: hand_version[me] > newest[row] -> newest[row] = hand_version[me] :: else fi

/* Delivery and finisher of one worker, for the contact in its hand. */
proctype Hand(byte me) {
    byte row = 0, other = 0;
    bool sent = false, under_way = false, again = false, doubt = false, in_flight = false, flipped = false;
#if BELL
    bool ask = false, holds = false, rings = false;
#endif
    {
        sent = false;
end_idle:
        in_hand[me];
        /* A request starts only in the session in which its contact was claimed. */
        atomic {
            row = hand_row[me];
            if
#if ONE_ADDRESS
            :: held[me] && !busy[me] ->
#else
            :: held[me] ->
#endif
                sent = true; under_way = true; requests[record(row)]++;
                assert(SESSIONS_END || requests[record(row)] == 1)      /* never twice in flight */
            :: else -> sent = false; hand_version[me] = 0
            fi
#if !ONE_ADDRESS
            ; held[me] = false      /* it is not asked again */
#endif
        }
        if
        :: sent -> atomic { requests[record(row)]--; under_way = false; land(); hand_version[me] = 0 }
        :: else
        fi;
#if ONE_ADDRESS
        atomic {
            if :: locked[me] && address == me -> address = NONE :: else fi;
            /* Who was put back may have been overtaken, and who has lost its session too. */
            doubt = sent && (late[me] || !held[me]);
            locked[me] = false; busy[me] = false; late[me] = false
        }
#endif
finish:
        /* finish_contacts: fenced by worker and number of the claim; a locked row is left out, and comes again. */
        atomic {
            again = false;
            if
#ifdef BROKEN_NO_FENCE
            :: row_lock[row] != FREE -> again = true
            :: else ->
#else
            :: claim_by[row] == me && claim_no[row] == hand_no[me] && row_lock[row] != FREE -> again = true
            :: claim_by[row] == me && claim_no[row] == hand_no[me] && row_lock[row] == FREE ->
#endif
                assert(claim_by[row] == me && claim_no[row] == hand_no[me]);      /* a lost claim is ended by nobody else */
                end_claim(row); other = row;
                if
#ifdef BROKEN_FLIP_FORGOTTEN
                :: sent && sync[row] != Skipped -> sync[row] = Complete; no_due(row)
#else
                :: sync[row] == Processing && sent -> sync[row] = Complete; no_due(row)      /* delivered */
#endif
                :: sync[row] == Processing && !sent -> sync[row] = Queued; line_up(row); want_look()      /* deferred */
                :: sync[row] == Queued -> line_up(row); want_look()      /* flipped again */
                :: sync[row] != Processing && sync[row] != Queued -> no_due(row)      /* withdrawn */
                fi
#ifndef BROKEN_NO_FENCE
            :: else -> doubt = sent; other = NONE      /* taken over */
#endif
            fi;
            if :: again :: else -> sent = false; hand_no[me] = 0 fi;
            if :: again || doubt :: else -> row = 0; other = 0 fi
        }
        if
        :: again -> row_lock[row] == FREE; goto finish
        :: else
        fi;
overwritten:
        /* flip_overwritten: what was sent may lie over what was sent since. A locked row is left out, and comes again. */
        atomic {
            again = false; flipped = false;
            if
#ifdef BROKEN_STALE_FORGOTTEN
            :: true
#else
            :: !doubt
            :: doubt ->
#if ONE_ADDRESS
                row = (version[0] > version[1] -> 0 : 1);
#endif
                if
                :: row == other || sync[row] != Complete && sync[row] != Processing
                :: row != other && (sync[row] == Complete || sync[row] == Processing) ->
                    if
                    :: row_lock[row] != FREE -> again = true
                    :: else ->
                        row_lock[row] = 101 + me; flipped = true;
                        in_flight = (claim_by[row] != NONE);
#if BELL
                        if :: in_flight :: else -> try_bell(holds, rings) fi
#endif
                    fi
                fi
#endif
            fi
        }
        if
        :: again -> row_lock[row] == FREE; goto overwritten
        :: flipped ->
            /* keep_flip_times: it counts as put back, not as newer, for a flip that is not committed yet may be newer than it. */
            atomic {
                make_visible(row, Queued, in_flight);
#ifndef BROKEN_NEWER_AGAIN
                if :: in_flight :: else -> note_put_back(row, true) fi
#endif
            }
#if BELL
            atomic { let_go_of_bell(holds) }
            atomic { ring_if(rings); want_look() }
#endif
        :: else
        fi;
        atomic {
#if BELL
#ifndef BROKEN_SILENT_FINISH
            if :: ask -> ask_lane(me) :: else fi;
#endif
            ask = false; forget_bell();
#endif
            sent = false; row = 0; other = 0; doubt = false; flipped = false; in_flight = false;
#if ONE_ADDRESS
            /* It was locked for a request that had ended. */
            if :: locked[me] && address == me -> address = NONE :: else fi;
            locked[me] = false;
#endif
            in_hand[me] = false; hand_row[me] = 0; hand_version[me] = 0; hand_no[me] = 0; held[me] = false
        }
        goto end_idle
    }
#if DEATH
    unless {
        dead[me];
        /* A request that was under way may still land, and what a statement has begun is rolled back or committed. */
        atomic {
            if
            :: under_way -> requests[record(row)]--; if :: land() :: true fi
            :: else
            fi;
            if :: row_lock[row] == 101 + me -> row_lock[row] = FREE :: else fi;
#if BELL
            let_go_of_bell(holds);
            ring_if(rings);
            ask = false;
#endif
            /* What it had in mind makes no difference any more. */
            under_way = false; sent = false; row = 0; other = 0; again = false; doubt = false; flipped = false;
            in_flight = false; in_hand[me] = false; hand_row[me] = 0; hand_version[me] = 0; hand_no[me] = 0
#if ONE_ADDRESS
            ; busy[me] = false; late[me] = false
#endif
        }
    }
#endif
}

#if ONE_ADDRESS
/* The session of whoever is alone, when another worker comes: it locks the addresses of its requests, then is alone no more. */
proctype Host(byte me) {
end_waiting:
    atomic { alone == me && session[1 - me] && !company[1 - me] -> believes[me] = false; lets_in[me] = true }
#ifndef BROKEN_NO_GUARD
    atomic {
        if
        :: session[me] && in_hand[me] && held[me] && !locked[me] && !busy[me] && address == NONE -> address = me; locked[me] = true
        :: else
        fi
    }
#endif
    atomic { if :: alone == me -> alone = NONE :: else fi; lets_in[me] = false };
    goto end_waiting
}
#endif

#if SESSIONS_END
#define free_locks(w) \
    session[w] = false; held[w] = false; \
    free_bell(w); \
    free_addresses(w)
#if BELL
#define free_bell(w) if :: armed == w -> armed = NONE :: else fi; if :: keeper == w -> keeper = NONE :: else fi
#else
#define free_bell(w) skip
#endif
#if ONE_ADDRESS
#define free_addresses(w) \
    company[w] = false; believes[w] = false; locked[w] = false; \
    if :: alone == w -> alone = NONE :: else fi; \
    if :: address == w -> address = NONE :: else fi
#else
#define free_addresses(w) skip
#endif

/* Cuts sessions. All locks of that worker go at once; it learns of it later, and its request goes on. */
proctype Cutter() {
    byte cuts = 0, w;
    do
    :: cuts < LOSSES ->
        if
        :: w = 0
#if WORKERS > 1
        :: cuts > 0 || DEATH -> w = 1      /* the first time, it makes no difference which of two that are alike */
#endif
        fi;
        atomic { if :: session[w] -> free_locks(w) :: else fi; cuts++; w = 0 }
    :: else -> break
    od;
#if DEATH
    atomic {
        free_locks(0); dead[0] = true;
#if BELL
        asked[0] = false
#endif
    }
#endif
}
#endif

/* Wherever nothing can move any more, every committed flip has been delivered. */
proctype Judge() {
    byte row = 0;
end_waiting:
    timeout;
    do
    :: row < ROWS ->
        assert(sync[row] != Queued && sync[row] != Processing && claim_by[row] == NONE);      /* nothing is stranded */
        assert(sync[row] != Complete || newest[row] == version[row]);      /* none is lost */
#if !DEATH || defined(ORDER_AFTER_DEATH)
#if ONE_ADDRESS
        assert(sync[row] != Complete || at_crm[0] >= version[row]);      /* the last state wins */
#else
        assert(sync[row] != Complete || at_crm[row] == version[row]);      /* the last state wins */
#endif
#endif
        row++
    :: else -> break
    od
}

init {
    byte i = 0;
    atomic {
        do :: i < WORKERS -> run Lane(i); run Hand(i); i++ :: else -> break od;
#if ONE_ADDRESS
        i = 0;
        do :: i < WORKERS -> run Host(i); i++ :: else -> break od;
#endif
        i = 0;
        do :: i < APPLICATIONS -> run Application(i); i++ :: else -> break od;
#if SESSIONS_END
        run Cutter();
#endif
        run Judge()
    }
}
