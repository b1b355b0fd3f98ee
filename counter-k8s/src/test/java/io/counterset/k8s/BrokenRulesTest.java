// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static java.util.Objects.requireNonNull;
import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.Mutant;
import java.lang.annotation.Annotation;
import java.lang.reflect.Field;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Method;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Named;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/** Breaks one rule of the report at a time and expects the test that guards this rule to fail. */
class BrokenRulesTest {

    /**
     * Micronaut looks up the descriptions of records itself, so it is loaded together with them.
     */
    private static Mutant mutant() {
        return new Mutant().with("io.micronaut.");
    }

    private static Arguments broken(String rule, Class<?> test, String method, Mutant mutant) {
        return Arguments.of(Named.of(rule, mutant), test, method);
    }

    static Stream<Arguments> brokenRules() {
        return Stream.of(
                broken(
                        "a farewell is believed from a stranger",
                        FarewellTest.class,
                        "aStrangerCannotMakeALastKnownCountFinal",
                        mutant().change(
                                        Peers.class,
                                        "return askForFinal(instance, FAREWELL_ATTEMPTS);",
                                        "memory.believe(instance); return CompletableFuture.completedStage(null);")
                                .change(
                                        PeerMemory.class,
                                        "    synchronized @Nullable Known get(Known.Key key) {",
                                        """
                                            synchronized void believe(String instance) {
                                                peers.replaceAll((key, known) -> {
                                                    Store store = known.store();
                                                    Map<String, Seen> counts = new HashMap<>(store.counts());
                                                    counts.replaceAll((name, seen) -> new Seen(seen.count(), seen.at(), true, 0, 0, 0));
                                                    return !known.instance().equals(instance) ? known : known.with(new Store(
                                                            store.id(), store.incarnation(), store.since(), store.seenAt(), counts,
                                                            null, store.revision(), true));
                                                });
                                            }
                                            synchronized @Nullable Known get(Known.Key key) {""")),
                broken(
                        "complete ignores whether counts are final",
                        FarewellTest.class,
                        "theLastKnownCountOfAKilledReplicaIsNotFinal",
                        mutant().change(
                                        Reconciliation.class,
                                        "answered == number && allFinal;",
                                        "answered == number;")),
                broken(
                        "a count stays final though the store may have been opened again",
                        FarewellTest.class,
                        "theCountAfterAFarewellIsFinal",
                        mutant().change(PeerMemory.class, ": store.opened());", ": store);")),
                broken(
                        "a sealed store of a pod that may start it again is final",
                        FarewellTest.class,
                        "aSealedCountIsNotFinalUnlessThePodIsTerminating",
                        mutant().change(
                                        Reconciliation.class,
                                        "&& member.phase() == Phase.TERMINATING\n                && expected.exact()",
                                        "&& expected.exact()")
                                .change(Reconciliation.class, "&& !expected.names().contains(count.instance());", ";")
                                .change(
                                        PeerMemory.class,
                                        "boolean away = !wanted && (member == null || member.phase() == Phase.TERMINATING);",
                                        "boolean away = true;")),
                broken(
                        "what was lost is counted twice",
                        LostVolumesTest.class,
                        "reportsAnOlderCopyOfAVolumeAsRolledBack",
                        mutant().change(
                                        Reconciliation.class,
                                        "lost.add(seen.lost());",
                                        "lost.add(seen.lost()); lost.add(seen.lost());")),
                broken(
                        "a store is counted under two names",
                        FarewellTest.class,
                        "aVolumeThatMovedToAnotherNameIsCountedOnce",
                        mutant().change(
                                        Reconciliation.class,
                                        "if (!row.answered()\n                && !known.key().label().equals(holders.get(known.store().id()))) {",
                                        "if (false) {")),
                broken(
                        "two replicas that answer with one store are both counted",
                        FarewellTest.class,
                        "aCopyOfThisReplicasStoreIsNotCounted",
                        mutant().change(Reconciliation.class, "if (holder != null) {", "if (false) {")),
                broken(
                        "name and store are enough to be taken for this replica",
                        StaticPeersTest.class,
                        "aCopyOfThisReplicaNeverTakesItsRow",
                        mutant().change(
                                        Reconciliation.class,
                                        "own.process() != null && own.process().equals(count.process())",
                                        "count.instance().equals(own.instance()) && count.store().equals(own.store())")),
                broken(
                        "another store behind a stale list is believed",
                        FarewellTest.class,
                        "aNewStoreIsNotRememberedWhileTheListIsStale",
                        mutant().change(
                                        Reconciliation.class,
                                        "if (!membership.isLive() && !membership.isByAddress()) {",
                                        "if (false) {")),
                broken(
                        "a replica of another group is counted",
                        FarewellTest.class,
                        "ignoresAReplicaOfAnotherGroup",
                        mutant().change(
                                        Reconciliation.class,
                                        "if (replica.group() != null && !replica.group().equals(count.group())) {",
                                        "if (false) {")));
    }

    @ParameterizedTest(name = "{0} -> {2}")
    @MethodSource("brokenRules")
    void aTestFailsOnABrokenRule(Mutant mutant, Class<?> test, String method) throws Exception {
        assertThat(failure(mutant.load(test), method)).isInstanceOf(AssertionError.class);
    }

    @Test
    void theTestsPassOnTheUnbrokenRules() throws Exception {
        Mutant unbroken = mutant().change(Reasons.class, "final class Reasons {", "final class Reasons { // as it is");
        Map<Class<?>, Class<?>> loaded = new HashMap<>();
        for (Arguments arguments : brokenRules().toList()) {
            Class<?> test = (Class<?>) arguments.get()[1];
            String method = (String) arguments.get()[2];
            if (!loaded.containsKey(test)) {
                loaded.put(test, unbroken.load(test));
            }
            assertThat(failure(requireNonNull(loaded.get(test)), method))
                    .as(method)
                    .isNull();
        }
    }

    /** Runs one test method as JUnit does. */
    private static @Nullable Throwable failure(Class<?> test, String method) throws Exception {
        var constructor = test.getDeclaredConstructor();
        constructor.setAccessible(true);
        Object instance = constructor.newInstance();
        Path folder = Files.createTempDirectory("mutant");
        for (Field field : test.getDeclaredFields()) {
            if (field.isAnnotationPresent(TempDir.class)) {
                field.setAccessible(true);
                field.set(instance, folder);
            }
        }
        try {
            run(test, instance, BeforeEach.class);
            Method run = test.getDeclaredMethod(method);
            run.setAccessible(true);
            run.invoke(instance);
            return null;
        } catch (InvocationTargetException e) {
            return e.getCause();
        } finally {
            run(test, instance, AfterEach.class);
            LostVolumesTest.delete(folder);
        }
    }

    private static void run(Class<?> test, Object instance, Class<? extends Annotation> when) throws Exception {
        List<Method> methods = new ArrayList<>(List.of(test.getDeclaredMethods()));
        methods.removeIf(method -> !method.isAnnotationPresent(when));
        for (Method method : methods) {
            method.setAccessible(true);
            method.invoke(instance);
        }
    }
}
