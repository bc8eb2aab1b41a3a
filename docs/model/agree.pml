/* How members without a server come to one epoch: the rules of docs/spec.md,
   "Agreement", for 4 members, NC commits and 2 Remove orders. README.md says how
   to check it, and what is left out.

   Members are 0..3, epochs 0..NC, 0 being the root; a commit has a higher number
   than its parent. Sets are bytes with a bit for each element. */

#ifndef NC
#define NC 6            /* commits */
#endif
#ifndef RENEWALS
#define RENEWALS 2      /* of them such as execute no order */
#endif
#define N 4
#define ALL 15
#ifndef MOVES
#define MOVES 4         /* that a member makes before the network is calm */
#endif

#define has(set, x) (((set) >> (x)) & 1)
/* Order 0, of member 0, removes member 3; order 1, of member 1, removes member 2. */
#define covered(orders) ((has(orders, 0) << 3) | (has(orders, 1) << 2))

/* Commits: they do not change. */
byte parent[NC + 1], author[NC + 1], class[NC + 1], members[NC + 1];   /* the last is for the calm */
byte commits = 0, renewals = 0;

/* What each member knows, holds, and is in. */
byte known[N], orders[N], keys[N], head[N];
byte vote[N * N], seq[N * N];   /* [i*N+j]: of member j, as i knows it */
bool quiet = false;
byte executed = 0;      /* orders that some commit executed; for NOREPEAT */
/* due(i) are the orders that a commit of member i executes. */
#ifdef NOREPEAT
#define due(i) (orders[i] & ~executed)
#define note(x) executed = executed | (x)
#else
#define due(i) (orders[i])
#define note(x) skip
#endif

/* choose(i) sets e to the head by what member i knows. */
inline choose(i) {
	e = 0;
	do
	:: true ->
		best = 0; bestkey = 0; c = e + 1;
		do
		:: c > commits -> break
		:: c <= commits ->
			if
			:: has(known[i], c) && parent[c] == e ->
				support = 0; j = 0;
				do
				:: j == N -> break
				:: j < N ->
					if
					:: has(members[e], j) && !has(covered(orders[i]), j) ->
						h = vote[i * N + j];
						do
						:: h > c -> h = parent[h]
						:: else -> break
						od;
						support = support + (h == c)
					:: else
					fi;
					j++
				od;
				/* rules 1, 2 (at most 4 members: 2 supporters), 3, 5, 6 */
				key = (support > 0) * 128 + (support >= 2) * 80 + (support >= 4) * 16;
				key = key + class[c] * 4 + 3 - ((author[c] + e) % 4);
				if
				:: key > bestkey && key >= 128 -> best = c; bestkey = key
				:: else
				fi
			:: else
			fi;
			c++
		od;
		if
		:: best > 0 -> e = best
		:: else -> break
		fi
	od
}

/* follow(i) goes to the head, entering what is on the way, and states it. */
inline follow(i) {
	choose(i);
	c = 1;
	do
	:: c > e -> break
	:: c <= e ->
		h = e;
		do
		:: h > c -> h = parent[h]
		:: else -> break
		od;
		if
		:: h == c && !has(keys[i], c) && has(keys[i], parent[c]) && has(members[c], i) ->
			derive(i, c)
		:: else
		fi;
		c++
	od;
	do
	:: has(keys[i], e) -> break
	:: else -> e = parent[e]
	od;
	if
	:: head[i] != e ->
		head[i] = e; vote[i * N + i] = e; seq[i * N + i]++
	:: else
	fi;
	check(i)
}

/* derive makes an epoch's keys of its parent's, which is punctured there. */
byte punctured[N];
inline derive(i, x) {
	assert(!has(punctured[i], x));          /* never again */
	punctured[i] = punctured[i] | (1 << x);
	keys[i] = keys[i] | (1 << x)
}

/* check is the invariants that concern member i, after each of its steps. */
inline check(i) {
	j = 0;
	do
	:: j == N -> break
	:: j < N ->
		/* I3: who may send has no listener whose removal it knows. */
#ifdef NOBARRIER
		assert(!(has(covered(orders[i]), j) && has(keys[j], head[i])));
#else
		assert((members[head[i]] & covered(orders[i])) || !(has(covered(orders[i]), j) && has(keys[j], head[i])));
#endif
		/* I1: who knows the same is in the same epoch. */
		if
		:: j != i && known[i] == known[j] && orders[i] == orders[j] ->
			h = 0; same = true;
			do
			:: h == N -> break
			:: h < N -> same = same && vote[i * N + h] == vote[j * N + h]; h++
			od;
			if
			:: same && has(members[head[i]], j) && has(members[head[j]], i) && !has(covered(orders[i]), i) && !has(covered(orders[i]), j) ->
				assert(head[i] == head[j])
			:: else
			fi
		:: else
		fi;
		j++
	od
}

/* mine(i): member i made a commit in its head. */
inline mine(i) {
	same = false; c = 1;
	do
	:: c > commits -> break
	:: c <= commits -> same = same || (parent[c] == head[i] && author[c] == i); c++
	od
}

inline commit(i, cls, left) {
	commits++;
	parent[commits] = head[i]; author[commits] = i; class[commits] = cls;
	members[commits] = members[head[i]] & ~(left);
	known[i] = known[i] | (1 << commits);
	derive(i, commits);
	/* it states what it publishes */
	head[i] = commits; vote[i * N + i] = commits; seq[i * N + i]++;
	follow(i)
}

/* free(i): member i may still move while the network is not calm. Without a bound
   there are schedules that never end: each hears of the others' moves just too
   late. No deterministic rule can exclude them. */
#define free(i) (!quiet && seq[(i) * N + (i)] < MOVES)

/* news(i, f): member f has something that member i has not. */
#define newer(i, f, j) (seq[(f) * N + j] > seq[(i) * N + j])
#define news(i, f) (free(i) && ((known[f] & ~known[i]) || (orders[f] & ~orders[i]) || newer(i, f, 0) || newer(i, f, 1) || newer(i, f, 2) || newer(i, f, 3)))

/* learn(i, f): all that f has, at once; that nothing is learnt for long is a
   partition, an absence, or something withheld. */
inline learn(i, f) {
	known[i] = known[i] | known[f];
	orders[i] = orders[i] | orders[f];
	j = 0;
	do
	:: j == N -> break
	:: j < N ->
		if
		:: newer(i, f, j) -> seq[i * N + j] = seq[f * N + j]; vote[i * N + j] = vote[f * N + j]
		:: else
		fi;
		j++
	od;
	follow(i)
}

#define serves(i) (has(members[head[i]], i) && !has(covered(orders[i]), i))

/* What a step left in local variables is no part of the state. */
inline forget() {
	e = 0; c = 0; h = 0; j = 0; best = 0; bestkey = 0; key = 0; support = 0; f = 0; same = false
}

proctype member(byte i) {
	byte e, c, h, j, best, bestkey, key, support, f;
	bool same;
end:	do
	:: d_step { news(i, (i + 1) % N) -> f = (i + 1) % N; learn(i, f); forget() }
	:: d_step { news(i, (i + 2) % N) -> f = (i + 2) % N; learn(i, f); forget() }
	:: d_step { news(i, (i + 3) % N) -> f = (i + 3) % N; learn(i, f); forget() }
	:: d_step { (free(i) && i == 0 && !has(orders[0], 0) && serves(0)) -> orders[0] = orders[0] | 1; follow(i); forget() }
	:: d_step { (free(i) && i == 1 && !has(orders[1], 1) && serves(1)) -> orders[1] = orders[1] | 2; follow(i); forget() }
	:: d_step { (free(i) && commits < NC - 1 && serves(i) && (members[head[i]] & covered(due(i)))) -> mine(i);
		if
		:: !same -> f = due(i); note(f); commit(i, 2, covered(f))
		:: else
		fi; forget() }
	:: d_step { (free(i) && commits < NC - 1 && renewals < RENEWALS && serves(i) && !(members[head[i]] & covered(orders[i]))) -> mine(i);
		if
		:: !same -> renewals++; commit(i, 0, 0)
		:: else
		fi; forget() }
	od
}

/* At any time the network may become calm: everybody hears of everything before
   the next moves. Then all who remain come to one epoch, and every order is
   executed there (I1, I4), by one commit if need be. */
proctype calm() {
	byte e, c, h, j, best, bestkey, key, support, f;
	byte i, all, first, round;
	bool same;
	d_step {
		quiet = true;
		round = 0;
		do
		:: round == 4 -> break
		:: round < 4 ->
			i = 0;
			do
			:: i == N -> break
			:: i < N ->
				f = 0;
				do
				:: f == N -> break
				:: f < N -> learn(i, f); f++
				od;
				i++
			od;
			i = 0;
			do
			:: i == N -> break
			:: i < N ->
				if
				:: round == 1 && commits < NC && serves(i) && (members[head[i]] & covered(due(i))) ->
					f = due(i); note(f); commit(i, 2, covered(f)); break
				:: else
				fi;
				i++
			od;
			round++
		od;
		all = 0; first = 255; i = 0;
		do
		:: i == N -> break
		:: i < N -> all = all | orders[i]; i++
		od;
		i = 0;
		do
		:: i == N -> break
		:: i < N ->
			if
			:: has(covered(all), i)
			:: else ->
				assert(orders[i] == all);
				if
				:: first == 255 -> first = head[i]
				:: else -> assert(head[i] == first)
				fi;
				assert(!(members[head[i]] & covered(all)))
			fi;
			i++
		od;
		forget(); i = 0; all = 0; first = 0; round = 0
	}
}

init {
	d_step {
		members[0] = ALL;
		byte i = 0;
		do
		:: i == N -> break
		:: i < N -> known[i] = 1; keys[i] = 1; i++
		od
	}
	atomic { run member(0); run member(1); run member(2); run member(3); run calm() }
}
