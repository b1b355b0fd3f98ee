// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;

import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;
import org.opentest4j.TestAbortedException;

/**
 * Breaks the engine on purpose and checks that a test notices. Each break is listed with the test
 * that finds it; the test runs unchanged against the {@link Mutant}.
 */
class MutantTest {

    /**
     * The largest number of seeds that finding a break may take; most take fewer than a hundred.
     */
    private static final long SEEDS = 4000;

    /**
     * A break of the writes to the disk, and a pattern of the violation that the simulation
     * reports.
     */
    private static Arguments simulated(String name, String pattern, Mutant mutant) {
        return Arguments.of(Named.of(name, mutant), pattern);
    }

    static Stream<Arguments> breaksTheSimulationFinds() {
        return Stream.of(
                simulated(
                        "the file is renamed before it is synced",
                        "opening is refused needlessly",
                        new Mutant()
                                .change(
                                        Journal.class,
                                        "            region.sync();\n            Journal journal",
                                        "            Journal journal")
                                .change(
                                        Journal.class,
                                        "        storage.syncNames();\n",
                                        "        storage.syncNames();\n        region.sync();\n")),
                simulated(
                        "the directory is not synced",
                        "lost",
                        new Mutant().change(Journal.class, "        storage.syncNames();\n", "")),
                simulated(
                        "the store continues after the recovered tail",
                        "lost|no moment|cannot be imported",
                        continueInTheRecoveredFile("        journal.second = atSecond;\n"
                                + "        journal.position = at;\n"
                                + "        appending = at + 8 * BLOCK <= end;\n")),
                simulated(
                        "the store continues in the other half of the recovered file",
                        "lost|no moment|cannot be imported",
                        continueInTheRecoveredFile("        journal.second = atSecond;\n        appending = false;\n")),
                simulated(
                        "a failed flush is retried",
                        "a write or sync failed, and the store accepts adds",
                        new Mutant()
                                .change(
                                        Journal.class,
                                        "region.commit(at, encoded, 0, (int) length);",
                                        "try { region.commit(at, encoded, 0, (int) length); }"
                                                + " catch (IOException e) { region.sync(); }")),
                simulated(
                        "records are packed, not aligned to blocks",
                        "lost|opening is refused needlessly",
                        new Mutant()
                                .change(
                                        Batch.class,
                                        "        return roundUp(length);",
                                        "        return packed(length);")
                                .change(
                                        Batch.class,
                                        "    static long roundUp(long length) {",
                                        "    static long packed(long length) { return (length + 63) / 64 * 64; }\n"
                                                + "    static long roundUp(long length) {")
                                .change(
                                        Journal.class,
                                        "at += Batch.roundUp(Batch.length(batch, 0));",
                                        "at += Batch.packed(Batch.length(batch, 0));")
                                .change(
                                        Journal.class,
                                        "readBlocks(position, block, 0, BLOCK, -1);",
                                        "readBlocks(position, block, 0, (int) Math.min(BLOCK, room), -1);")),
                simulated(
                        "keys are written apart from the values that include them",
                        "applied a second time",
                        new Mutant()
                                .change(
                                        Batch.class,
                                        "    boolean isEmpty() {",
                                        "    List<RememberedKeys.Entry> withoutKeys() {\n"
                                                + "        List<RememberedKeys.Entry> without = keys;\n"
                                                + "        for (RememberedKeys.Entry key : keys) {\n"
                                                + "            length -= keyLength(key.keyLength());\n"
                                                + "        }\n"
                                                + "        keys = List.of();\n"
                                                + "        return without;\n"
                                                + "    }\n"
                                                + "    boolean isEmpty() {")
                                .change(
                                        Commit.class,
                                        "        journal.append(batch);",
                                        "var later = batch.isFull() ? List.<RememberedKeys.Entry>of() : batch.withoutKeys();\n"
                                                + "journal.append(batch);\n"
                                                + "if (!later.isEmpty() && journal.fits(batch.paddedLength() + 4096)) {\n"
                                                + "    batch.keys(later);\n"
                                                + "    journal.append(batch);\n"
                                                + "}")),
                simulated(
                        "there is only one half",
                        "opening is refused needlessly|lost",
                        new Mutant().change(Journal.class, "target = !second;", "target = second;")),
                simulated(
                        "adds are acknowledged without a flush",
                        "lost|opening is refused needlessly",
                        new Mutant().change(Journal.class, "region.commit(at, encoded,", "region.write(at, encoded,")),
                simulated(
                        "there is no sequence chain",
                        "opening is refused needlessly|lost|no moment",
                        new Mutant()
                                .change(
                                        Journal.class,
                                        "Batch.sequence(batch, 0) != sequence + 1",
                                        "Batch.sequence(batch, 0) < 1")),
                // Further breaks.
                simulated(
                        "totals are published before they are on the device",
                        "shown|acknowledged",
                        new Mutant()
                                .change(
                                        Commit.class,
                                        "        journal.append(batch);",
                                        "        ledger.publish(batch);\n        journal.append(batch);")),
                simulated(
                        "the store continues after a failed commit",
                        "a write or sync failed, and the store accepts adds|refused needlessly",
                        new Mutant().change(GroupCommit.class, "        state = FAILED;\n", "")),
                simulated(
                        "adds are acknowledged even if the commit failed",
                        "lost|acknowledged",
                        new Mutant()
                                .change(
                                        GroupCommit.class,
                                        "cell == null ? state != FAILED : cell.durable() >= pending.total",
                                        "cell != null || state != FAILED")),
                simulated(
                        "a larger journal never gets its name",
                        "lost|shown|incarnation",
                        new Mutant()
                                .change(
                                        Room.class,
                                        "                storage.replace(Journal.NEW_FILE, Journal.FILE);\n",
                                        "                storage.exists(Journal.FILE);\n")),
                simulated(
                        "a new journal gets its name before it has a batch",
                        "opening is refused needlessly",
                        new Mutant()
                                .change(
                                        Room.class,
                                        "            ledger.noteChanges(batch);\n            filled.append(batch);\n            for",
                                        "            ledger.noteChanges(batch);\n            if (journal == null) { filled.activate(); }\n            filled.append(batch);\n            for")
                                .change(Room.class, "            first.activate();\n", "")),
                simulated(
                        "recovery takes the older half",
                        "lost|opening is refused needlessly",
                        new Mutant()
                                .change(
                                        Journal.class,
                                        "Batch.sequence(other, 0) > Batch.sequence(first, 0)",
                                        "Batch.sequence(other, 0) < Batch.sequence(first, 0)")),
                simulated(
                        "a full batch leaves out the keys",
                        "applied a second time",
                        new Mutant()
                                .change(
                                        Ledger.class,
                                        "        batch.clear(true);\n        batch.keys(keys.list());\n",
                                        "        batch.clear(true);\n")),
                simulated(
                        "keys leave the window too early",
                        "applied a second time",
                        new Mutant()
                                .change(
                                        RememberedKeys.class,
                                        "entries.size() < window.maxKeys()",
                                        "entries.size() < Math.max(1, window.maxKeys() - 1)")),
                simulated(
                        "closing drops arrivals",
                        "in flight|close|lost",
                        new Mutant()
                                .change(
                                        GroupCommit.class,
                                        "if (state != FAILED && (arrivals != null || step.isDirty()))",
                                        "if (state == 77)")),
                simulated(
                        "the incarnation does not grow",
                        "incarnation",
                        new Mutant().change(Opening.class, "contents.identity().incarnation() + 1", "1")),
                simulated(
                        "a larger journal lacks adds that became durable while it was filled",
                        "lost|shown|no moment|a count of",
                        new Mutant()
                                .change(
                                        Room.class,
                                        "        ledger.takeChanges(batch);\n        if (batch.isEmpty()) {",
                                        "        if (batch.isEmpty()) {")),
                simulated(
                        "a store without room for its journal accepts adds",
                        "unexpected|incarnation|acknowledged|refused needlessly",
                        new Mutant()
                                .change(
                                        Room.class,
                                        "    boolean isWritable() {\n        return journal != null;",
                                        "    boolean isWritable() {\n        return true;")));
    }

    /** Continues in the recovered file instead of a new one, which the engine never does. */
    private static Mutant continueInTheRecoveredFile(String how) {
        return new Mutant()
                .change(
                        Journal.class,
                        "    long sequence() {",
                        "    static boolean recovered;\n"
                                + "    static boolean appending;\n"
                                + "    static boolean atSecond;\n"
                                + "    static long at;\n"
                                + "    static long end;\n"
                                + "    static long itsId;\n"
                                + "    static long itsHalf;\n"
                                + "    static Journal goOn(Storage storage, long sequence) throws IOException {\n"
                                + "        Journal journal = new Journal(storage, storage.open(FILE), itsId, itsHalf, sequence);\n"
                                + how
                                + "        return journal;\n"
                                + "    }\n"
                                + "    long sequence() {")
                .change(
                        Journal.class,
                        "            int discarded = scanBeyond(",
                        "            atSecond = second;\n"
                                + "            Journal.at = at;\n"
                                + "            Journal.end = BLOCK + (second ? 2 * half : half);\n"
                                + "            itsId = id;\n"
                                + "            itsHalf = half;\n"
                                + "            int discarded = scanBeyond(")
                .change(
                        Room.class,
                        "        Journal filled = Journal.prepare(storage, identity, half, sequence);",
                        "        Journal.recovered = journal == null && storage.exists(Journal.FILE);\n"
                                + "        Journal filled = Journal.recovered\n"
                                + "            ? Journal.goOn(storage, sequence)\n"
                                + "            : Journal.prepare(storage, identity, half, sequence);")
                .change(
                        Room.class,
                        "            first.activate();\n",
                        "            if (!Journal.recovered) { first.activate(); }\n            Journal.appending = false;\n")
                .change(
                        Ledger.class,
                        "    void noteChanges(Batch batch) {\n        batch.clear(true);",
                        "    void noteChanges(Batch batch) {\n        batch.clear(!Journal.appending);")
                .change(Opening.class, "contents.identity().incarnation() + 1", "contents.sequence() + 1");
    }

    @ParameterizedTest(name = "{0}")
    @MethodSource("breaksTheSimulationFinds")
    void theSimulationFinds(Mutant mutant, String pattern) throws Exception {
        Method run = mutant.load(Simulation.class).getDeclaredMethod("run", long.class);
        run.setAccessible(true);
        for (long seed = 0; seed < SEEDS; seed++) {
            String violation = (String) run.invoke(null, seed);
            if (violation != null) {
                String first = violation.lines().findFirst().orElse("");
                System.out.printf("  found by seed %d: %.160s%n", seed, first);
                assertThat(violation).as("seed %d", seed).containsPattern(pattern);
                return;
            }
        }
        throw new AssertionError("not found in " + SEEDS + " seeds");
    }

    @Test
    void theSimulationFindsNothingInTheUnchangedEngine() throws Exception {
        Mutant unbroken = new Mutant().change(Batch.class, "final class Batch {", "final class Batch { // as it is");
        Method run = unbroken.load(Simulation.class).getDeclaredMethod("run", long.class);
        run.setAccessible(true);
        for (long seed = 0; seed < 200; seed++) {
            assertThat(run.invoke(null, seed)).as("seed %d", seed).isNull();
        }
    }

    // ---- breaks that need threads or damage ----

    private static Arguments tested(String name, Class<?> test, String method, Mutant mutant) {
        return Arguments.of(Named.of(name, mutant), test, method);
    }

    static Stream<Arguments> breaksOtherTestsFind() {
        return Stream.of(
                tested(
                        "a total is read before its counter is unmarked",
                        HandOverTest.class,
                        "twoThreadsLoseNoAdd",
                        new Mutant()
                                .change(
                                        Ledger.class,
                                        "                cell.unmark();\n                batch.add(cell, applied(cell));",
                                        "                long early = cell.applied();\n"
                                                + "                Thread.yield();\n"
                                                + "                cell.unmark();\n"
                                                + "                batch.add(cell, early);")),
                tested(
                        "a released caller does not wake the next of its chain",
                        HandOverTest.class,
                        "releasedCallersWakeEachOther",
                        new Mutant()
                                .change(Pending.class, "                LockSupport.unpark(next.thread);\n", "")
                                .change(
                                        Pending.class,
                                        "LockSupport.parkNanos(this, LONGEST_PARK_NANOS);",
                                        "LockSupport.park(this);")),
                tested(
                        "a leader of a slow device does not wait for further adds",
                        HandOverTest.class,
                        "callersOfASlowDeviceShareItsCommits",
                        new Mutant()
                                .change(
                                        GroupCommit.class,
                                        "lull = took < SLOW_NANOS ?",
                                        "lull = took < Long.MAX_VALUE ?")),
                tested(
                        "the search beyond the end reads the first mebibyte only",
                        DamageTest.class,
                        "damageIsFoundHoweverFarAwayItsProofIs",
                        new Mutant()
                                .change(
                                        Journal.class,
                                        "for (long start = BLOCK; start < end; start += piece.length) {\n                int length",
                                        "for (long start = BLOCK; start <= BLOCK; start += piece.length) {\n                int length")),
                tested(
                        "a torn batch is not reported",
                        DamageTest.class,
                        "aTornBatchIsReported",
                        new Mutant().change(Journal.class, "                    torn = 1;\n", "")),
                tested(
                        "a total may decrease when read",
                        DamageTest.class,
                        "aDecreasingTotalIsDamage",
                        new Mutant().change(Batch.class, "if (value < before) {", "if (value < 1) {")),
                tested(
                        "a half-linked counter counts as linked",
                        HandOverTest.class,
                        "markingWaitsUntilAnotherThreadHasLinkedTheCounter",
                        new Mutant()
                                .change(
                                        Counter.class,
                                        "        awaitLink();\n        // Linked,",
                                        "        // Linked,")),
                tested(
                        "periodic commits are ten times too late",
                        HandOverTest.class,
                        "aPeriodicAddIsDurableBeforeTenPeriods",
                        new Mutant()
                                .change(
                                        GroupCommit.class,
                                        "durability.period().map(period -> period.toNanos())",
                                        "durability.period().map(period -> 10 * period.toNanos())")),
                tested(
                        "any failed lookup of a file counts as its absence",
                        RealStorageTest.class,
                        "aFailedLookupDoesNotCountAsAbsence",
                        new Mutant()
                                .change(
                                        DirectoryStorage.class,
                                        "catch (NoSuchFileException e) { // only this means absence",
                                        "catch (IOException e) { // only this means absence")),
                tested(
                        "the file of a larger journal stays open when naming it fails",
                        RoomTest.class,
                        "anUncertainRenameOfALargerJournalIsFinal",
                        new Mutant().change(Room.class, "                next.close();\n", "")),
                tested(
                        "bytes of evicted and expired keys stay counted",
                        RememberedKeysTest.class,
                        "bytesAreTheSumOverAllRememberedKeys",
                        new Mutant()
                                .change(
                                        RememberedKeys.class,
                                        "            bytes -= Batch.keyLength(entry.keyLength);\n",
                                        "")),
                tested(
                        "the journal does not record which key a source evicted",
                        RememberedKeysTest.class,
                        "aReopenedStoreRemembersTheKeysThatWereNotEvicted",
                        new Mutant()
                                .change(
                                        Ledger.class,
                                        "                    newKeys.add(evicted.evictedFor(entry));\n",
                                        "                    evicted.evictedFor(entry);\n")),
                tested(
                        "keys are evicted in the order of their age, from any source",
                        RememberedKeysTest.class,
                        "aSourceWithManyKeysEvictsItsOwn",
                        new Mutant()
                                .change(
                                        RememberedKeys.class,
                                        "return (own != null && own.size == largest.size ? own : largest).oldest;",
                                        "return oldest();")),
                tested(
                        "nothing is checked beyond the end of the sequence",
                        DamageTest.class,
                        "damageInTheMiddleIsFound",
                        new Mutant()
                                .change(
                                        Journal.class,
                                        "if (intact || Batch.sequence(piece, i) > sequence + 1) {",
                                        "if (position < 0) {")),
                tested(
                        "only an intact batch beyond the end counts as proof",
                        DamageTest.class,
                        "damageToTheLastTwoBatchesIsFound",
                        new Mutant()
                                .change(
                                        Journal.class,
                                        "if (intact || Batch.sequence(piece, i) > sequence + 1) {",
                                        "if (intact) {")),
                tested(
                        "checksums are not checked",
                        DamageTest.class,
                        "damageInTheMiddleIsFound",
                        new Mutant()
                                .change(
                                        Journal.class,
                                        "return Batch.checksumHolds(block) ? block : null;",
                                        "return block;")),
                tested(
                        "keys are remembered outside the lock under which totals advance",
                        HandOverTest.class,
                        "survivingAddsHaveTheirKeys",
                        new Mutant()
                                .change(
                                        Ledger.class,
                                        "            newKeys.add(entry);\n",
                                        "            lock.unlock();\n"
                                                + "            Thread.yield();\n"
                                                + "            lock.lock();\n"
                                                + "            newKeys.add(entry);\n")));
    }

    // ---- breaks that only system calls reveal ----

    private static Arguments seen(String name, String method, String from, String to) {
        return tested(name, RealStorageTest.class, method, new Mutant().change(DirectoryStorage.class, from, to));
    }

    static Stream<Arguments> breaksOfTheRealStorage() {
        return Stream.of(
                seen("commits are written without O_DSYNC", "commitsUseAWriteThroughDescriptor", "\"rwd\"", "\"rw\""),
                seen(
                        "a sync does nothing",
                        "aNewJournalIsSyncedBeforeItIsRenamed",
                        "            file.getFD().sync();\n",
                        ""),
                seen(
                        "the real directory is not synced",
                        "theRenameIsSyncedBeforeTheStoreOpens",
                        "        sync(directory);\n",
                        ""),
                seen(
                        "the directories above are not synced",
                        "eachNewDirectoryIsSynced",
                        "            sync(parent);\n",
                        ""),
                seen(
                        "a batch over 1 MiB is not synced",
                        "aBatchOverAMebibyteIsSyncedBeforeItIsAcknowledged",
                        "                write(position, source, offset, length);\n                sync();\n",
                        "                write(position, source, offset, length);\n"),
                seen(
                        "a long write is synced only at its end",
                        "aLongWriteIsSyncedEveryFewMebibytes",
                        "if (unsynced >= MOST_UNSYNCED) {",
                        "if (unsynced < 0) {"));
    }

    @ParameterizedTest(name = "{0} -> {1}.{2}")
    @MethodSource("breaksOfTheRealStorage")
    void theSystemCallsRevealTheBreak(Mutant mutant, Class<?> test, String method) throws Exception {
        anotherTestFinds(mutant, test, method);
    }

    @ParameterizedTest(name = "{0} -> {1}.{2}")
    @MethodSource("breaksOtherTestsFind")
    void anotherTestFinds(Mutant mutant, Class<?> test, String method) throws Exception {
        Class<?> itself = mutant.load(test);
        var constructor = itself.getDeclaredConstructor();
        constructor.setAccessible(true);
        Object instance = constructor.newInstance();
        Method run = itself.getDeclaredMethod(method);
        run.setAccessible(true);
        Throwable found = failure(run, instance);
        if (found instanceof TestAbortedException skipped) {
            throw skipped;
        }
        assertThat(found).as("the failure of %s", method).isNotNull();
        System.out.println("  found: " + found);
    }

    private static @Nullable Throwable failure(Method test, Object instance) throws IllegalAccessException {
        try {
            test.invoke(instance);
            return null;
        } catch (InvocationTargetException e) {
            return e.getCause();
        }
    }
}
