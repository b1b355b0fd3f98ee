// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.KeyConflictException;
import io.counterset.CounterStoreException.OutcomeUnknownException;
import io.counterset.CounterStoreException.StoreBusyException;
import io.counterset.CounterStoreException.StoreFailedException;
import io.counterset.CounterStoreException.StoreFullException;
import io.counterset.SimulatedDisk.Fault;
import io.counterset.SimulatedDisk.Lie;
import io.counterset.SimulatedDisk.Tears;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.SortedMap;
import java.util.SplittableRandom;
import java.util.TreeMap;
import java.util.UUID;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import org.jspecify.annotations.Nullable;

/**
 * A client of a store on a {@link SimulatedDisk} that checks every promise of the store. In one
 * thread, and as a seed determines, it adds with and without keys, retries, creates counters, lets
 * the journal grow, crashes and injects failures.
 *
 * <p><b>The checker.</b> In one thread all adds have one order, and a commit takes all of them. So
 * the totals that the store shows, and the totals that survive a crash, must be those after
 * <em>some</em> prefix of this history: a consistent cut of all counters, with nothing invented and
 * nothing added twice. The prefix must contain every add that was acknowledged and every add that
 * was ever shown. A retry must find its key if and only if the prefix contains the first add.
 *
 * <p><b>A device that lies</b> may lose acknowledged adds, which nothing can prevent. The store
 * must then refuse to open, or show one moment of its history, from any of its lives. It must never
 * show a mixture of two moments, nor more than was added.
 */
final class Simulation {

    /** A promise was broken. */
    static final class Violation extends AssertionError {
        private static final long serialVersionUID = 1L;

        Violation(String what) {
            super(what);
        }
    }

    /** The settings that differ between runs. */
    record Settings(
            List<String> counters,
            int maxKeys,
            Duration maxAge,
            long minHalf,
            Durability durability,
            int maxPending,
            boolean countFile) {

        /** The number of sources that send keys. */
        int sources() {
            return 1 + (counters.size() + maxKeys) % 3;
        }
    }

    /** An applied add. If it survives a crash, the store must remember its key. */
    private record Add(
            int counter,
            long amount,
            long total,
            @Nullable String key,
            int source,
            long opening, // when it was made; after reopening, its source counts as 0
            long appliedAt) {} // on the simulated clock, in nanoseconds

    /**
     * A future to check. When it completes, the first {@code position} adds of the history are
     * acknowledged.
     */
    private record Waiting(
            CompletableFuture<?> future,
            int position,
            long total,
            @Nullable Boolean replayed) {}

    /** A state that the store was in, and the add that led there from the one before. */
    private static final class Moment {
        final @Nullable Moment before;
        final @Nullable Add add;

        Moment(@Nullable Moment before, @Nullable Add add) {
            this.before = before;
            this.add = add;
        }
    }

    private record Request(int counter, long amount, String key) {}

    private static final long SECOND = 1_000_000_000;

    /**
     * The longest time that a store may take to notice that there is room again, after its attempts
     * to grow have backed off.
     */
    private static final long LONGEST_WAIT = 60 * SECOND;

    /**
     * Tolerance for ages: they are in milliseconds and are rounded each time the store is opened.
     */
    private static final long ROUNDING = 20_000_000;

    final SimulatedDisk disk;
    private final Settings settings;
    private final boolean verbose;

    private final Map<Map<String, Long>, Moment> moments = new HashMap<>(); // empty: the device does not lie
    private Moment moment = new Moment(null, null);
    private boolean wentBack; // to a moment before the last add
    private final Set<UUID> ids = new HashSet<>();

    private long nanos;
    private long millis = 1_000_000;

    // What the store must contain: the base, plus at least the adds of the history that were
    // acknowledged or shown.
    private final long[] base;
    private final List<Add> settled = new ArrayList<>(); // the keyed adds in the base
    private final List<Add> history = new ArrayList<>();
    private int acknowledged;
    private int shown;
    private @Nullable UUID id;
    private long incarnation;

    private @Nullable CounterStore store;
    private boolean inBetween;
    private boolean readOnly; // opened without room for a journal, and still without room
    private final List<Waiting> waiting = new ArrayList<>();
    private long failuresBefore;
    private long journalFailuresBefore;
    private long journalStepsAtFailure;
    private long roomSince; // simulated time; Long.MAX_VALUE while room is limited
    private long adds;
    private long opens;

    Simulation(SimulatedDisk disk, Settings settings, boolean verbose) {
        this.disk = disk;
        this.settings = settings;
        this.verbose = verbose;
        this.base = new long[settings.counters.size()];
    }

    /** Returns a client that expects the same content on another disk. */
    Simulation fork(SimulatedDisk itsDisk) {
        Simulation fork = new Simulation(itsDisk, settings, verbose);
        fork.nanos = nanos;
        fork.millis = millis;
        System.arraycopy(base, 0, fork.base, 0, base.length);
        fork.settled.addAll(settled);
        fork.history.addAll(history);
        fork.acknowledged = acknowledged;
        fork.shown = shown;
        fork.id = id;
        fork.incarnation = incarnation;
        return fork;
    }

    // ---- a random run ----

    /**
     * Runs a history of a store, chosen by a seed.
     *
     * @return a description of the broken promise, or null if all held
     */
    static @Nullable String run(long seed) {
        return run(seed, false);
    }

    static @Nullable String run(long seed, boolean verbose) {
        SplittableRandom random = new SplittableRandom(seed);
        Simulation simulation =
                new Simulation(new SimulatedDisk(random::nextInt, Tears.EACH_SECTOR), randomSettings(random), verbose);
        Thread.currentThread()
                .setUncaughtExceptionHandler((thread, e) -> {}); // the housekeeper reports each Error to it
        try {
            simulation.live(random);
            return null;
        } catch (Violation e) {
            return e.getMessage();
        } catch (RuntimeException | Error e) {
            StringBuilder at = new StringBuilder("unexpected ").append(e);
            for (int i = 0; i < Math.min(6, e.getStackTrace().length); i++) {
                at.append(" < ").append(e.getStackTrace()[i]);
            }
            return at.toString();
        }
    }

    /** The outcome for a store on a device that lies. */
    enum Outcome {
        /** It was refused. */
        REFUSED,
        /** It showed a state from before its last add. */
        OLDER,
        /** It always showed the state after its last add. */
        RIGHT
    }

    /**
     * Runs a history of a store on a device that lies, chosen by a seed.
     *
     * @throws Violation if the store shows a state that it was never in
     */
    static Outcome runLying(long seed, boolean verbose) {
        SplittableRandom random = new SplittableRandom(seed);
        Settings all = randomSettings(random);
        Settings settings =
                new Settings(all.counters, all.maxKeys, all.maxAge, all.minHalf, all.durability, all.maxPending, false);
        Simulation simulation =
                new Simulation(new SimulatedDisk(random::nextInt, Tears.EACH_SECTOR), settings, verbose);
        return simulation.liveWithLies(random);
    }

    private Outcome liveWithLies(SplittableRandom random) {
        moments.put(Map.of(), moment);
        Lie[] kinds = Lie.values();
        Lie kind = kinds[random.nextInt(kinds.length)];
        boolean anyKind = random.nextInt(4) == 0;
        int rarity = 1 << random.nextInt(8);
        List<Request> requests = new ArrayList<>();
        for (int lives = 2 + random.nextInt(4); ; lives--) {
            disk.unreadable(random.nextInt(10) == 0 ? random.nextInt(20) : -1);
            if (!open()) {
                return Outcome.REFUSED;
            }
            if (lives == 0) {
                return wentBack ? Outcome.OLDER : Outcome.RIGHT;
            }
            disk.unreadable(-1);
            disk.lies(lie -> (lie == kind || anyKind) && random.nextInt(rarity) == 0);
            for (int operations = random.nextInt(80); operations > 0; operations--) {
                act(random, requests, false);
            }
            end(random.nextInt(3), true);
        }
    }

    private static Settings randomSettings(SplittableRandom random) {
        boolean wide = random.nextInt(4) == 0; // batches of several blocks, and growth
        int count = wide ? 10 + random.nextInt(60) : 1 + random.nextInt(5);
        List<String> counters = new ArrayList<>();
        for (int i = 0; i < count; i++) {
            String name = "c" + i;
            counters.add(wide ? name + "-".repeat(60 + random.nextInt(60)) : name);
        }
        int[] windows = {1, 2, 3, 8, 40, 400};
        return new Settings(
                counters,
                windows[random.nextInt(windows.length)],
                Duration.ofSeconds(random.nextInt(3) == 0 ? 1 : 1 + random.nextInt(100)),
                SimulatedDisk.BLOCK * (1L + random.nextInt(4)),
                random.nextInt(4) == 0 ? Durability.periodic(Duration.ofMillis(100)) : Durability.SYNC,
                random.nextInt(4) == 0 ? 1 + random.nextInt(4) : 1000,
                random.nextInt(4) == 0);
    }

    private void live(SplittableRandom random) {
        disk.allocatesLate(random.nextInt(2) == 0);
        disk.reportsFreeSpace(random.nextInt(2) == 0);
        disk.meanwhile(() -> meanwhile(random));
        if (random.nextInt(8) == 0) {
            base[0] = settings.countFile ? random.nextInt(3) * 100L : 0;
            disk.put(
                    CountFile.FILE,
                    (random.nextInt(3) == 0 ? " " : "").concat(base[0] + "\n").getBytes(StandardCharsets.UTF_8));
        }
        boolean tight = random.nextInt(4) == 0;
        List<Request> requests = new ArrayList<>();
        int lives = 1 + random.nextInt(5);
        for (int life = 0; life < lives; life++) {
            limitRoom(
                    tight && random.nextInt(3) > 0
                            ? disk.used() + random.nextInt(random.nextBoolean() ? 12 : 60)
                            : Long.MAX_VALUE);
            for (int attempt = 0; ; attempt++) {
                if (attempt < 4 && random.nextInt(3) == 0) {
                    planFault(random, 10);
                } else {
                    disk.faults((step, operation, file) -> Fault.NONE);
                }
                disk.failRead(attempt < 4 && random.nextInt(30) == 0 ? random.nextInt(6) : -1);
                if (attempt == 4) {
                    limitRoom(Long.MAX_VALUE);
                }
                if (open()) {
                    break;
                }
                if (attempt == 5) {
                    throw new Violation("the store does not open on a healthy disk");
                }
            }
            disk.failRead(-1);
            disk.faults((step, operation, file) -> Fault.NONE);
            if (random.nextInt(3) > 0) {
                planFault(random, 80);
            }
            int operations = random.nextInt(random.nextInt(3) == 0 ? 120 : 40);
            for (int i = 0; i < operations; i++) {
                act(random, requests, tight);
            }
            end(random.nextInt(3), random.nextInt(2) == 0);
        }
        disk.faults((step, operation, file) -> Fault.NONE);
        limitRoom(Long.MAX_VALUE);
        if (!open()) {
            throw new Violation("the store does not open on a healthy disk, at the end");
        }
        for (Request request : requests) { // retry every add, including those with an unknown outcome
            add(request.counter, request.amount, request.key, false);
        }
        look();
        end(0, false);
    }

    private void planFault(SplittableRandom random, int within) {
        Fault fault = switch (random.nextInt(10)) {
            case 0 -> Fault.ERROR;
            case 1 -> Fault.NO_SPACE;
            case 2, 3, 4 -> Fault.FAILURE;
            default -> Fault.POWER_CUT;
        };
        long at = disk.steps() + 1 + random.nextInt(within);
        disk.faults((step, operation, file) -> step == at ? fault : Fault.NONE);
    }

    private void limitRoom(long blocks) {
        disk.capacity(blocks);
        if (blocks != Long.MAX_VALUE) {
            roomSince = Long.MAX_VALUE;
        } else if (roomSince == Long.MAX_VALUE) {
            roomSince = nanos;
        }
    }

    private void act(SplittableRandom random, List<Request> requests, boolean tight) {
        nanos += random.nextLong(SECOND / 20);
        if (random.nextInt(4) == 0) {
            keepHouse();
            settle();
        }
        millis += random.nextInt(100);
        int counter = random.nextInt(settings.counters.size());
        long amount = random.nextInt(4) == 0 ? 1 + random.nextLong(1L << 40) : 1;
        boolean async = random.nextBoolean();
        int dice = random.nextInt(100);
        if (dice < 45) {
            add(counter, amount, null, async);
        } else if (dice < 70) {
            String key = "k" + random.nextInt(100_000);
            if (random.nextInt(8) == 0) {
                key += "-".repeat(240);
            }
            Request request = new Request(counter, amount, key);
            requests.add(request);
            if (requests.size() > 30) {
                requests.remove(random.nextInt(30));
            }
            add(counter, amount, key, async);
        } else if (dice < 80 && !requests.isEmpty()) {
            Request again = requests.get(requests.size() - 1 - random.nextInt(Math.min(8, requests.size())));
            add(again.counter, again.amount, again.key, async);
        } else if (dice < 82 && !requests.isEmpty()) {
            Request other = requests.get(random.nextInt(requests.size()));
            add(random.nextInt(settings.counters.size()), other.amount + random.nextInt(2), other.key, async);
        } else if (dice < 89) {
            pump();
        } else if (dice < 94) {
            look();
        } else if (dice < 96) {
            flush();
        } else if (dice < 97) {
            millis += settings.maxAge.toMillis() * random.nextInt(3) / 2;
            nanos += random.nextBoolean() ? SECOND : settings.maxAge.toNanos() * random.nextInt(3) / 2;
        } else if (dice < 98) {
            millis += random.nextLong(-3000, 3000) * (random.nextBoolean() ? 1 : 1L << 30);
        } else if (tight) {
            limitRoom(
                    random.nextBoolean()
                            ? Long.MAX_VALUE
                            : disk.used() + random.nextInt(random.nextBoolean() ? 12 : 60));
        }
    }

    // ---- the actions of a client ----

    /** Opens the store and checks its content. Returns false if it could not be opened. */
    boolean open() {
        if (disk.isOff()) {
            disk.powerOn();
            log("power on");
        }
        opens++;
        failuresBefore = disk.failures();
        journalFailuresBefore = disk.journalFailures();
        journalStepsAtFailure = -1;
        CounterStore.Builder builder = CounterStore.builder(Path.of("simulated"))
                .storage(disk.mount())
                .clocks(() -> millis, () -> nanos)
                .withoutThreads()
                .minHalf(settings.minHalf)
                .maxPending(settings.maxPending)
                .idempotencyWindow(new IdempotencyWindow(settings.maxKeys, settings.maxAge))
                .durability(settings.durability);
        if (settings.countFile) {
            builder.countFile(settings.counters.get(0));
        }
        CounterStore opened;
        try {
            opened = builder.open();
        } catch (OutOfMemoryError e) {
            log("open: %s", e);
            require(isBroken(), "opening ended with an Error on a healthy disk");
            require(disk.openFiles() == 0 || disk.isOff(), "%s files stay open after %s", disk.openFiles(), e);
            return false;
        } catch (CounterStoreException e) {
            log("open: %s", e);
            boolean allowed = e instanceof StoreFullException
                    ? roomSince == Long.MAX_VALUE || isBroken()
                    : e instanceof CounterStoreException.DirectoryUnusableException && isBroken();
            if (!moments.isEmpty()) { // damage that a device's lie left behind
                allowed |= e instanceof CounterStoreException.CorruptJournalException
                        || e instanceof CounterStoreException.ForeignFileException;
            }
            require(allowed, "opening is refused needlessly: %s", e);
            require(e.outcome() == CounterStoreException.Outcome.NOT_APPLIED, "opening has outcome %s", e.outcome());
            require(disk.openFiles() == 0 || disk.isOff(), "%s files stay open after %s", disk.openFiles(), e);
            return false;
        }
        store = opened;
        readOnly = !opened.isAccepting();
        if (readOnly) {
            require(roomSince == Long.MAX_VALUE || isBroken(), "a store is opened for reading although there is room");
            int seen = position(opened.snapshot(), "for reading");
            log("open for reading: %d of %d, acknowledged %d", seen, history.size(), acknowledged);
            require(seen >= acknowledged && seen >= shown, "a store opened for reading shows only %d adds", seen);
            waiting.clear();
        } else {
            recovered(opened);
        }
        return true;
    }

    private boolean isBroken() {
        return disk.isOff() || disk.failures() > failuresBefore;
    }

    /** Records the moment in the history that a store on a lying device has gone back to. */
    private void wentBack(CounterStore opened) {
        SortedMap<String, Long> found = opened.snapshot();
        Moment there = moments.get(found);
        log("open: %s, found %s", opened.identity(), found);
        if (there == null) {
            throw new Violation("the store shows " + found + ", a state that it was never in");
        }
        UUID identity = opened.identity().id();
        require(found.isEmpty() || ids.contains(identity), "another store has these counts: %s", identity);
        ids.add(identity);
        id = identity;
        incarnation = 0; // it may have gone back, too
        wentBack |= !there.equals(moment);
        moment = there;
        settled.clear();
        for (Moment m = there; m != null; m = m.before) {
            if (m.add != null && m.add.key != null) {
                settled.add(0, m.add);
            }
        }
        for (int i = 0; i < base.length; i++) {
            base[i] = found.getOrDefault(settings.counters.get(i), 0L);
        }
        history.clear();
        waiting.clear();
        acknowledged = 0;
        shown = 0;
    }

    private void recovered(CounterStore opened) {
        if (!moments.isEmpty()) {
            wentBack(opened);
            return;
        }
        SortedMap<String, Long> found = opened.snapshot();
        int survived = position(found, "recovered");
        log("open: %s, survived %d of %d, acknowledged %d", opened.identity(), survived, history.size(), acknowledged);
        require(
                survived >= acknowledged,
                "acknowledged adds are lost: %d of %d were acknowledged, %d survived; found %s",
                acknowledged,
                history.size(),
                survived,
                found);
        require(survived >= shown, "%d adds were shown to readers, %d survived", shown, survived);
        for (Add add : history.subList(0, survived)) {
            base[add.counter] += add.amount;
            if (add.key != null) {
                settled.add(add);
            }
        }
        history.clear();
        waiting.clear();
        acknowledged = 0;
        shown = 0;
        StoreIdentity identity = opened.identity();
        require(id == null || id.equals(identity.id()), "the store was %s and is %s", id, identity.id());
        require(identity.incarnation() > incarnation, "incarnation %d after %d", identity.incarnation(), incarnation);
        id = identity.id();
        incarnation = identity.incarnation();
        int discarded = opened.statistics().discardedBatches();
        require(discarded == 0 || discarded == 1, "%d torn batches", discarded);
    }

    /** Adds and commits while a larger journal is written, as other threads do. */
    private void meanwhile(SplittableRandom random) {
        CounterStore current = store;
        if (current == null || readOnly || inBetween || !current.isAccepting()) {
            return;
        }
        inBetween = true;
        for (int adds = random.nextInt(4); adds > 0; adds--) {
            int counter = random.nextInt(settings.counters.size());
            if (total(counter) > 0) { // a new counter would wait for this journal
                add(counter, 1, null, true);
            }
        }
        current.pump();
        settle();
        inBetween = false;
    }

    /** Runs the housekeeper's tasks. These make a read-only store writable if there is room. */
    private void keepHouse() {
        CounterStore current = store();
        current.keepHouse();
        if (readOnly && current.isAccepting()) {
            readOnly = false;
            recovered(current);
        }
    }

    private CounterStore store() {
        CounterStore current = store;
        if (current == null) {
            throw new IllegalStateException("not open");
        }
        return current;
    }

    /** Adds, and records the possible outcomes. */
    void add(int counter, long amount, @Nullable String key, boolean async) {
        CounterStore current = store();
        if (readOnly) {
            keepHouse();
        }
        adds++;
        Counter target = current.counter(settings.counters.get(counter));
        boolean accepting = current.isAccepting();
        long replaysBefore = key == null ? 0 : current.statistics().replays();
        int known = key == null ? -1 : latest(key);
        boolean certain = known >= 0 && isInside(known);

        int source = 0;
        if (async && key != null && adds % 3 > 0) { // one source sends more than the others
            source = adds % 3 == 1 ? settings.sources() - 1 : (int) (adds / 3 % settings.sources());
        }
        CompletableFuture<?> future;
        if (async) {
            future = key == null ? target.addAsync(amount) : target.addOnceAsync(amount, key, source);
        } else {
            try {
                Object result = key == null ? (Object) target.add(amount) : target.addOnce(amount, key);
                future = CompletableFuture.completedFuture(result);
            } catch (CounterStoreException e) {
                future = CompletableFuture.failedFuture(e);
            }
        }

        boolean replayed = key != null && current.statistics().replays() > replaysBefore;
        CounterStoreException refusal = failureOf(future);
        log(
                "%s%s +%d%s -> %s",
                async ? "addAsync " : "add ",
                target.name(),
                amount,
                key == null ? "" : " key " + key,
                refusal != null ? refusal : future.isDone() ? future.join() : "pending");
        if (refusal != null && refusal.outcome() == CounterStoreException.Outcome.NOT_APPLIED) {
            checkRefusal(refusal, counter, amount, async, accepting, known, certain);
        } else if (replayed) {
            require(known >= 0, "an add with the new key %s was taken for a replay", key);
            Add first = keyed(known);
            require(
                    first.counter == counter && first.amount == amount,
                    "key %s was used for %s and now answers for another add",
                    key,
                    first);
            int acknowledges = known < settled.size() ? 0 : position(first);
            expect(future, acknowledges, first.total, true);
        } else {
            require(!certain, "an add with key %s was applied a second time inside the window", key);
            require(refusal != null || accepting, "an add was taken though the store did not accept any");
            long total = total(counter) + amount;
            history.add(new Add(counter, amount, total, key, source, opens, nanos));
            if (!moments.isEmpty()) {
                remember(history.get(history.size() - 1));
            }
            expect(future, history.size(), total, key == null ? null : false);
        }
        settle();
    }

    private void remember(Add add) {
        Map<String, Long> totals = new HashMap<>();
        for (int i = 0; i < base.length; i++) {
            if (total(i) > 0) {
                totals.put(settings.counters.get(i), total(i));
            }
        }
        moment = new Moment(moment, add);
        moments.put(totals, moment);
    }

    private void checkRefusal(
            CounterStoreException refusal,
            int counter,
            long amount,
            boolean async,
            boolean accepting,
            int known,
            boolean certain) {
        if (refusal instanceof KeyConflictException) {
            require(known >= 0, "a conflict with a key that was never used: %s", refusal);
            Add first = keyed(known);
            require(
                    first.counter != counter || first.amount != amount,
                    "a replay was taken for a conflict: %s",
                    refusal);
        } else if (refusal instanceof StoreBusyException) {
            require(async, "a blocking add was refused: %s", refusal);
        } else if (refusal instanceof StoreFullException) {
            boolean allowed = roomSince == Long.MAX_VALUE || nanos - roomSince < LONGEST_WAIT || isBroken();
            require(allowed, "there is room, but an add is refused: %s", refusal);
            require(!certain || readOnly, "a replay was refused: %s", refusal);
        } else {
            require(refusal instanceof StoreFailedException && isBroken(), "refused needlessly: %s", refusal);
            require(!accepting || !store().isAccepting(), "refused by a store that accepts: %s", refusal);
        }
    }

    private void expect(CompletableFuture<?> future, int position, long total, @Nullable Boolean replayed) {
        waiting.add(new Waiting(future, position, total, replayed));
    }

    /** Checks the results of all completed futures. */
    private void settle() {
        waiting.removeIf(w -> {
            if (!w.future.isDone()) {
                return false;
            }
            CounterStoreException failure = failureOf(w.future);
            if (failure != null) {
                require(
                        failure instanceof OutcomeUnknownException && isBroken(),
                        "an add in flight ended with %s",
                        failure);
                return true;
            }
            Object result = w.future.join();
            long total = result instanceof AddResult r ? r.total() : (Long) result;
            require(total == w.total, "an add returned %d instead of %d", total, w.total);
            if (result instanceof AddResult r) {
                require(r.replayed() == Boolean.TRUE.equals(w.replayed), "replayed is %s", r.replayed());
            }
            if (settings.durability.period().isEmpty()) {
                acknowledged = Math.max(acknowledged, w.position);
            }
            return true;
        });
        CounterStore current = store();
        if (disk.journalFailures() > journalFailuresBefore) {
            require(!current.isAccepting(), "a write or sync failed, and the store accepts adds");
        }
        if (!current.isAccepting() && !readOnly) {
            require(isBroken(), "the store stopped on a healthy disk");
            if (journalStepsAtFailure < 0) {
                journalStepsAtFailure = disk.journalSteps();
            }
            require(disk.journalSteps() == journalStepsAtFailure, "the journal is written after a failure");
        }
        require(waiting.size() <= settings.maxPending + 1, "%d adds are pending", waiting.size());
    }

    private static @Nullable CounterStoreException failureOf(CompletableFuture<?> future) {
        if (!future.isCompletedExceptionally()) {
            return null;
        }
        try {
            future.join();
            throw new IllegalStateException();
        } catch (CompletionException e) {
            if (e.getCause() instanceof CounterStoreException known) {
                return known;
            }
            throw new Violation("an add ended with " + e.getCause());
        }
    }

    void pump() {
        keepHouse();
        store().pump();
        log("pump");
        settle();
        if (store().isAccepting()) {
            require(waiting.isEmpty(), "an add is still in flight after a commit");
        }
    }

    void flush() {
        int all = history.size();
        try {
            store().flush();
            acknowledged = readOnly ? acknowledged : Math.max(acknowledged, all);
            log("flush");
        } catch (OutcomeUnknownException e) {
            log("flush: %s", e);
            require(isBroken(), "flush failed on a healthy disk: %s", e);
        }
        settle();
    }

    /** Reads all counters. The adds that it sees must survive from now on. */
    void look() {
        CounterStore current = store();
        SortedMap<String, Long> snapshot = current.snapshot();
        int position = position(snapshot, "snapshot shows");
        log("look: %d of %d", position, history.size());
        require(position >= acknowledged, "%d adds were acknowledged, a snapshot shows %d", acknowledged, position);
        require(position >= shown, "%d adds were shown, a snapshot shows %d", shown, position);
        if (!readOnly) { // a read-only store may show the page cache, which need not survive
            shown = position;
        }
        for (String name : settings.counters) {
            long value = current.counter(name).value();
            require(value == snapshot.getOrDefault(name, 0L), "%s is %d, but %s in a snapshot", name, value, snapshot);
        }
        if (settings.countFile && !readOnly && current.statistics().countFileFailures() == 0 && !disk.isOff()) {
            byte[] text = disk.content(CountFile.FILE);
            require(text != null, "there is no count.txt");
            long counted = text == null ? 0 : Long.parseLong(new String(text, StandardCharsets.US_ASCII).strip());
            require(
                    counted <= snapshot.getOrDefault(settings.counters.get(0), 0L),
                    "count.txt contains %d, ahead of %s",
                    counted,
                    snapshot);
        }
    }

    /**
     * Ends the process: 0 closes the store, 1 kills the process, 2 cuts the power. A power cut may
     * also follow the other two.
     */
    void end(int how, boolean thenCutPower) {
        CounterStore current = store();
        log("end %d %s", how, thenCutPower);
        if (how == 0) {
            boolean clean = current.isAccepting();
            try {
                current.close();
            } catch (OutcomeUnknownException | java.io.UncheckedIOException | OutOfMemoryError e) {
                log("close: %s", e);
                require(isBroken(), "close failed on a healthy disk: %s", e);
                clean = false;
            }
            settleClosed();
            if (clean && !isBroken() && !readOnly) {
                acknowledged = history.size();
                require(position(current.snapshot(), "a closed store shows") == history.size(), "close lost something");
                if (settings.countFile) {
                    byte[] text = disk.content(CountFile.FILE);
                    String expected = current.counter(settings.counters.get(0)).value() + "\n";
                    require(
                            roomSince == Long.MAX_VALUE
                                    || (text != null && new String(text, StandardCharsets.US_ASCII).equals(expected)),
                            "count.txt ends with %s instead of %s after %s",
                            text == null ? "nothing" : new String(text, StandardCharsets.US_ASCII),
                            expected,
                            current.statistics());
                }
            }
        }
        store = null;
        readOnly = false;
        if (how == 2 || thenCutPower) {
            disk.cutPower();
        }
    }

    private void settleClosed() {
        for (Waiting w : waiting) {
            require(w.future.isDone(), "close left an add in flight");
        }
        waiting.removeIf(w -> {
            CounterStoreException failure = failureOf(w.future);
            if (failure == null) {
                if (settings.durability.period().isEmpty()) {
                    acknowledged = Math.max(acknowledged, w.position);
                }
            } else {
                require(
                        failure instanceof OutcomeUnknownException && isBroken(),
                        "close ended an add with %s",
                        failure);
            }
            return true;
        });
        require(disk.openFiles() == 0 || disk.isOff(), "%d files stay open after close", disk.openFiles());
        require(
                journalStepsAtFailure < 0 || disk.journalSteps() == journalStepsAtFailure,
                "close writes the journal after a failure");
    }

    // ---- the expected content of the store ----

    private long total(int counter) {
        long total = base[counter];
        for (Add add : history) {
            total += add.counter == counter ? add.amount : 0;
        }
        return total;
    }

    /**
     * Returns how many adds of the history these totals include. They must equal the totals after a
     * prefix of the history.
     */
    private int position(Map<String, Long> totals, String what) {
        Map<String, Long> expected = new TreeMap<>();
        long sum = 0;
        for (int i = 0; i < base.length; i++) {
            if (base[i] > 0) {
                expected.put(settings.counters.get(i), base[i]);
                sum += base[i];
            }
        }
        long sought = 0;
        for (long total : totals.values()) {
            sought += total;
        }
        int position = 0;
        while (sum != sought && position < history.size()) {
            Add add = history.get(position++);
            sum += add.amount;
            expected.put(settings.counters.get(add.counter), add.total);
        }
        require(
                expected.equals(totals),
                "%s %s, which is no moment of the history; the last was %s",
                what,
                totals,
                expected);
        return position;
    }

    @SuppressWarnings("ReferenceEquality") // compares identity, because equal adds may occur twice
    private int position(Add add) {
        for (int i = 0; i < history.size(); i++) {
            if (history.get(i) == add) {
                return i + 1;
            }
        }
        throw new IllegalStateException();
    }

    private Add keyed(int index) {
        return index < settled.size() ? settled.get(index) : history.get(index - settled.size());
    }

    /**
     * Returns the index of the last add with that key in {@code settled} followed by {@code
     * history}; or -1.
     */
    private int latest(String key) {
        for (int i = settled.size() + history.size() - 1; i >= 0; i--) {
            if (key.equals(keyed(i).key)) {
                return i;
            }
        }
        return -1;
    }

    /**
     * Whether the documented window contains that add: its key is among the newest and not too old.
     * With several sources, it is among the newest of its own source, of which an equal part of the
     * window is safe. Keys that were read when the store was opened belong to source 0.
     */
    private boolean isInside(int index) {
        Add sought = keyed(index);
        int source = sourceOf(sought);
        Set<String> newer = new HashSet<>();
        for (int i = index + 1; i < settled.size() + history.size(); i++) {
            Add add = keyed(i);
            if (add.key != null && sourceOf(add) == source) {
                newer.add(add.key);
            }
        }
        int sources = settings.sources();
        int safe = sources == 1 ? settings.maxKeys : (settings.maxKeys + sources - 1) / sources - 1;
        return newer.size() < safe && nanos - sought.appliedAt <= settings.maxAge.toNanos() - ROUNDING;
    }

    private int sourceOf(Add add) {
        return add.opening < opens ? 0 : add.source;
    }

    long adds() {
        return adds;
    }

    long opens() {
        return opens;
    }

    private void require(boolean holds, String what, @Nullable Object... details) {
        if (!holds) {
            throw new Violation(String.format(java.util.Locale.ROOT, what, details));
        }
    }

    private void log(String what, @Nullable Object... details) {
        if (verbose) {
            System.out.println("step " + disk.steps() + ": " + String.format(java.util.Locale.ROOT, what, details));
        }
    }
}
