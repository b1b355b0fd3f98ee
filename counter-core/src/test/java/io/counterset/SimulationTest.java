// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.SimulatedDisk.Choice;
import io.counterset.SimulatedDisk.Fault;
import io.counterset.SimulatedDisk.Tears;
import io.counterset.Simulation.Settings;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Long histories chosen by a seed, and short ones with every possible crash and failure.
 *
 * <pre>
 * mvn -pl counter-core test -Dtest=SimulationTest -Dcounterset.seeds=1000000    many seeds
 * mvn -pl counter-core test -Dtest=SimulationTest -Dcounterset.seed=4711       one seed, step by step
 * </pre>
 */
class SimulationTest {

    private static final long SEEDS = 20_000;

    @Test
    @Timeout(value = 30, unit = TimeUnit.MINUTES) // for a million seeds
    void everyPromiseHoldsInRandomHistories() {
        Long one = Long.getLong("counterset.seed");
        if (one != null) {
            assertThat(Simulation.run(one, true)).as("seed %d", one).isNull();
            return;
        }
        long from = Long.getLong("counterset.firstSeed", 0);
        long seeds = Long.getLong("counterset.seeds", SEEDS);
        long began = System.nanoTime();
        for (long seed = from; seed < from + seeds; seed++) {
            String violation = Simulation.run(seed);
            if (violation != null) {
                throw new AssertionError("seed " + seed + ": " + violation
                        + "\nStep by step: mvn -pl counter-core test -Dtest=SimulationTest -Dcounterset.seed=" + seed);
            }
        }
        System.out.printf("  %,d seeds in %.1f s%n", seeds, (System.nanoTime() - began) / 1e9);
    }

    @Test
    void onADeviceThatLiesAStoreIsRefusedOrShowsAStateFromItsHistory() {
        long from = Long.getLong("counterset.firstSeed", 0);
        long seeds = Long.getLong("counterset.seeds", SEEDS) / 4;
        Map<Simulation.Outcome, Long> outcomes = new EnumMap<>(Simulation.Outcome.class);
        for (long seed = from; seed < from + seeds; seed++) {
            try {
                outcomes.merge(Simulation.runLying(seed, false), 1L, Long::sum);
            } catch (Throwable e) {
                throw new AssertionError("seed " + seed + " with lies: " + e.getMessage(), e);
            }
        }
        System.out.println("  " + outcomes);
        assertThat(outcomes).as("of each kind").containsOnlyKeys(Simulation.Outcome.values());
    }

    // ---- short histories, exhaustively ----

    /**
     * Enumerates all choices, like an odometer whose wheels have as many digits as there are
     * options.
     */
    private static final class EveryChoice implements Choice {
        private final List<int[]> wheels = new ArrayList<>(); // digit, options
        private int next;

        @Override
        public int of(int options) {
            if (next == wheels.size()) {
                wheels.add(new int[] {0, options});
            }
            int[] wheel = wheels.get(next++);
            if (wheel[1] != options) {
                throw new IllegalStateException("not the same run: " + wheel[1] + " options, now " + options);
            }
            return wheel[0];
        }

        /** Advances to the next run; returns false if there is none. */
        boolean turn() {
            next = 0;
            while (!wheels.isEmpty()) {
                int[] last = wheels.get(wheels.size() - 1);
                if (++last[0] < last[1]) {
                    return true;
                }
                wheels.remove(wheels.size() - 1);
            }
            return false;
        }
    }

    private static final Duration MINUTE = Duration.ofMinutes(1);

    enum Story {
        A_FEW_ADDS(settings(2, "c", 1, 2, false), s -> {
            open(s);
            s.add(0, 1, null, false);
            s.add(1, 5, "k1", false);
            s.add(1, 5, "k1", true);
            s.add(0, 2, null, true);
            s.add(1, 3, "k2", true);
            s.pump();
            s.look();
            s.end(0, false);
            open(s);
            s.add(0, 1, "k3", false);
            s.add(1, 5, "k1", false);
        }),
        SWITCHING_HALVES(settings(1, "c", 2, 8, false), s -> {
            open(s);
            for (int i = 0; i < 7; i++) {
                s.add(0, 1, i % 2 == 0 ? "k" + i : null, false);
            }
            s.look();
        }),
        BATCHES_OF_SEVERAL_BLOCKS(settings(40, "c".repeat(110), 4, 8, false), s -> {
            open(s);
            for (int i = 0; i < 40; i++) {
                s.add(i, 1, null, true);
            }
            s.pump();
            for (int i = 0; i < 40; i++) {
                s.add(i, 1, null, true);
            }
            s.add(0, 1, "k", true);
            s.pump();
            s.look();
        }),
        GROWING(settings(40, "c".repeat(110), 1, 8, false), s -> {
            open(s);
            for (int i = 0; i < 30; i++) {
                s.add(i, 1, null, true);
            }
            s.add(0, 1, "k", true);
            s.pump();
            s.add(35, 1, null, false);
            s.look();
        }),
        COUNT_FILE(settings(1, "c", 1, 8, true), s -> {
            open(s);
            s.add(0, 7, null, false);
            s.look();
            s.end(0, false);
        }),
        PERIODIC(
                new Settings(
                        List.of("a", "b"), 8, MINUTE, SimulatedDisk.BLOCK, Durability.periodic(MINUTE), 100, false),
                s -> {
                    open(s);
                    s.add(0, 1, null, false);
                    s.add(1, 1, "k", false);
                    s.flush();
                    s.add(0, 1, "k2", false);
                    s.pump();
                    s.add(0, 1, null, true);
                    s.look();
                    s.end(0, false);
                });

        @SuppressWarnings("ImmutableEnumChecker") // immutable, although its type does not declare it
        final Settings settings;

        @SuppressWarnings("ImmutableEnumChecker") // a stateless function
        final Consumer<Simulation> script;

        Story(Settings settings, Consumer<Simulation> script) {
            this.settings = settings;
            this.script = script;
        }

        private static Settings settings(int counters, String name, int blocks, int maxKeys, boolean countFile) {
            return new Settings(
                    IntStream.range(0, counters).mapToObj(i -> name + i).toList(),
                    maxKeys,
                    MINUTE,
                    (long) blocks * SimulatedDisk.BLOCK,
                    Durability.SYNC,
                    100,
                    countFile);
        }

        /** Opens the store, with a second attempt because a fault may hit the first. */
        private static void open(Simulation s) {
            if (s.disk.isOff() || !(s.open() || (!s.disk.isOff() && s.open()))) {
                throw new EndOfStory();
            }
        }

        Simulation run(Choice choice, SimulatedDisk.Faults faults) {
            SimulatedDisk disk = new SimulatedDisk(choice, Tears.THREE_WAYS);
            if (settings.countFile()) {
                disk.put(CountFile.FILE, "0\n".getBytes(StandardCharsets.US_ASCII));
            }
            Simulation simulation = new Simulation(disk, settings, false);
            disk.faults(faults);
            try {
                script.accept(simulation);
            } catch (EndOfStory e) {
                // The power is off, or opening failed.
            }
            disk.faults((step, operation, file) -> Fault.NONE);
            return simulation;
        }
    }

    private static final class EndOfStory extends RuntimeException {
        private static final long serialVersionUID = 1L;
    }

    private long outcomes;

    @ParameterizedTest
    @EnumSource
    void survivesAPowerCutAtAnyStepAndAnotherDuringRecovery(Story story) {
        long steps = story.run(options -> 0, (step, operation, file) -> Fault.NONE)
                .disk
                .steps();
        for (long cut = 1; cut <= steps; cut++) {
            Simulation before = story.run(options -> 0, at(cut, Fault.POWER_CUT));
            afterEachPowerCut(before, survivor -> {
                long first = survivor.disk.steps();
                live(survivor.fork(survivor.disk.copy(options -> 0)));
                long recovery = story == Story.BATCHES_OF_SEVERAL_BLOCKS ? 0 : stepsOfOpening(survivor);
                for (long again = first + 1; again <= first + recovery; again++) {
                    Simulation second = survivor.fork(survivor.disk.copy(options -> 0));
                    second.disk.faults(at(again, Fault.POWER_CUT));
                    second.open(); // succeeds only if the power cut hit the writing of count.txt
                    second.disk.faults((step, operation, file) -> Fault.NONE);
                    afterEachPowerCut(second, this::live);
                }
            });
        }
        System.out.printf("  %s: %d steps, %,d outcomes%n", story, steps, outcomes);
        assertThat(outcomes).isGreaterThan(steps);
    }

    @ParameterizedTest
    @EnumSource
    void survivesAFailureOfAnyStepThenARestartOrPowerCut(Story story) {
        long steps = story.run(options -> 0, (step, operation, file) -> Fault.NONE)
                .disk
                .steps();
        for (long fault = 1; fault <= steps; fault++) {
            EveryChoice howItFails = new EveryChoice();
            do {
                Simulation failed = story.run(howItFails, at(fault, Fault.FAILURE));
                live(failed.fork(failed.disk.copy(options -> 0)));
                failed.disk.cutPower();
                afterEachPowerCut(failed, this::live);
            } while (howItFails.turn());
        }
        System.out.printf("  %s: %d steps, %,d outcomes%n", story, steps, outcomes);
        assertThat(outcomes).isGreaterThan(steps);
    }

    private static SimulatedDisk.Faults at(long step, Fault fault) {
        return (now, operation, file) -> now == step ? fault : Fault.NONE;
    }

    private static long stepsOfOpening(Simulation simulation) {
        Simulation trial = simulation.fork(simulation.disk.copy(options -> 0));
        long before = trial.disk.steps();
        assertThat(trial.open()).isTrue();
        return trial.disk.steps() - before;
    }

    /**
     * Turns the power on after each possible outcome of the power cut; visits equal outcomes only
     * once.
     */
    private void afterEachPowerCut(Simulation simulation, Consumer<Simulation> then) {
        assertThat(simulation.disk.isOff()).isTrue();
        Set<Long> seen = new HashSet<>();
        EveryChoice whatSurvives = new EveryChoice();
        do {
            SimulatedDisk disk = simulation.disk.copy(whatSurvives);
            disk.powerOn();
            if (seen.add(disk.image())) {
                outcomes++;
                then.accept(simulation.fork(disk));
            }
        } while (whatSurvives.turn());
    }

    /** Opens the store, which checks what survived; continues counting; and opens it once more. */
    private void live(Simulation simulation) {
        assertThat(simulation.open()).isTrue();
        simulation.look();
        simulation.add(0, 5, "afterwards", false);
        simulation.add(0, 5, "afterwards", false);
        simulation.end(0, true);
        assertThat(simulation.open()).isTrue();
    }
}
