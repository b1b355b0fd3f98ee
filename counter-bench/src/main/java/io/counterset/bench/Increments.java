// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.nio.file.Files;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import java.util.concurrent.ThreadFactory;
import org.jspecify.annotations.Nullable;

/** One counter, and callers that wait until their increment is on the device. */
final class Increments {

    /** An entrant with one kind of thread, and its rates by number of threads. */
    private record Lane(String title, Entrant entrant, ThreadFactory factory, Map<Integer, Samples> rates) {
        Lane(String title, Entrant entrant, ThreadFactory factory) {
            this(title, entrant, factory, new TreeMap<>());
        }

        Samples at(int threads) {
            return rates.computeIfAbsent(threads, n -> new Samples());
        }
    }

    private Increments() {}

    static String measure(Settings settings, Targets targets) throws Exception {
        List<Lane> lanes = new ArrayList<>();
        for (Entrant entrant : settings.entrants()) {
            lanes.add(new Lane(entrant.title(), entrant, Thread::new));
            if (entrant == Entrant.COUNTERSET) {
                virtualThreads()
                        .ifPresent(virtual -> lanes.add(new Lane("counter-core, virtual threads", entrant, virtual)));
            }
        }
        for (Lane lane : lanes) {
            rate(lane, 16, settings); // lets the compiler warm up before the measurement
        }
        for (int round = 1; round <= settings.rounds(); round++) {
            for (int threads : settings.threads()) {
                for (Lane lane : lanes) {
                    System.err.printf(Locale.ROOT, "round %d, %d callers: %s%n", round, threads, lane.title);
                    lane.at(threads).add(rate(lane, threads, settings));
                }
            }
        }
        compare(lanes, settings, targets);
        if (settings.picture() != null) {
            Files.writeString(settings.picture(), picture(lanes, settings));
        }
        return report(lanes, settings);
    }

    private static String picture(List<Lane> lanes, Settings settings) {
        int threads = settings.threads().contains(64) ? 64 : Collections.max(settings.threads());
        Picture picture = new Picture(
                "Durable increments per second",
                threads + (threads == 1 ? " caller waits" : " callers wait")
                        + " until each increment is on the device; more is better",
                Entrant.COUNTERSET.title());
        lanes.forEach(lane -> picture.add(lane.title, lane.at(threads).median()));
        return picture.toString();
    }

    /** Returns a thread factory for virtual threads if the JVM has them. */
    static Optional<ThreadFactory> virtualThreads() {
        try {
            Object builder = Thread.class.getMethod("ofVirtual").invoke(null);
            return Optional.of((ThreadFactory) Class.forName("java.lang.Thread$Builder")
                    .getMethod("factory")
                    .invoke(builder));
        } catch (ReflectiveOperationException e) {
            return Optional.empty();
        }
    }

    private static double rate(Lane lane, int threads, Settings settings) throws Exception {
        try (Scratch scratch = Scratch.in(settings.directory());
                Contender contender = lane.entrant.open(scratch.path(), settings.delay())) {
            Load.Busy other = new Load.Busy(settings.busy());
            Load.Result result;
            try {
                result = Load.run(
                        lane.factory, threads, settings.warmUp(), settings.measured(), thread -> contender.increment());
            } finally {
                other.end();
            }
            if (contender.count() != result.total()) {
                throw new IllegalStateException(
                        lane.title + " counted " + contender.count() + " of " + result.total() + " increments");
            }
            return result.perSecond();
        }
    }

    private static void compare(List<Lane> lanes, Settings settings, Targets targets) {
        if (settings.busy() > 0) {
            compare(lanes, settings, targets, 64, Entrant.BARE_GROUP_COMMIT, 0.95);
            compare(lanes, settings, targets, 256, Entrant.BARE_GROUP_COMMIT, 0.95);
            return;
        }
        compare(lanes, settings, targets, 1, Entrant.BARE_WRITE, 1.0);
        compare(lanes, settings, targets, 64, Entrant.BARE_GROUP_COMMIT, 1.1);
        compare(lanes, settings, targets, 64, Entrant.ROCKSDB, 2.1);
        compare(lanes, settings, targets, 256, Entrant.ROCKSDB, 2.0);
    }

    private static void compare(
            List<Lane> lanes, Settings settings, Targets targets, int threads, Entrant rival, double target) {
        String work =
                "durable increment, " + threads + (threads == 1 ? " thread" : " threads") + circumstances(settings);
        Lane ours = first(lanes, Entrant.COUNTERSET);
        Lane theirs = first(lanes, rival);
        if (ours == null || theirs == null || !settings.threads().contains(threads)) {
            targets.notMeasured(work, "not measured");
        } else {
            targets.atLeast(work, rival.title(), target, ours.at(threads).ratioTo(theirs.at(threads)), "%.2f ×");
        }
    }

    private static @Nullable Lane first(List<Lane> lanes, Entrant entrant) {
        return lanes.stream()
                .filter(lane -> lane.entrant == entrant)
                .findFirst()
                .orElse(null);
    }

    private static String report(List<Lane> lanes, Settings settings) {
        Lane ours = first(lanes, Entrant.COUNTERSET);
        List<String> heads = new ArrayList<>(List.of("increments per second (× of counter-core)"));
        settings.threads().forEach(n -> heads.add(n == 1 ? "1 thread" : n + " threads"));
        Table table = new Table(heads.toArray(String[]::new));
        for (Lane lane : lanes) {
            List<String> cells = new ArrayList<>(List.of(lane.title));
            for (int threads : settings.threads()) {
                Samples rates = lane.at(threads);
                cells.add(
                        ours == null
                                ? String.format(Locale.ROOT, "%,.0f", rates.median())
                                : String.format(
                                        Locale.ROOT, "%,.0f (%.2f)", rates.median(), rates.ratioTo(ours.at(threads))));
            }
            table.row(cells.toArray(String[]::new));
        }
        return "## Durable increments of one counter" + circumstances(settings) + "\n\n" + table;
    }

    private static String circumstances(Settings settings) {
        return (settings.delay().isZero()
                        ? ""
                        : String.format(
                                Locale.ROOT,
                                ", flushes %.1f ms slower",
                                settings.delay().toNanos() / 1e6))
                + (settings.busy() > 0 ? ", with " + settings.busy() + " busy loops" : "");
    }
}
