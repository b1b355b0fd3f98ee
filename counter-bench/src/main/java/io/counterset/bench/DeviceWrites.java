// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import io.counterset.bench.Machine.Writes;
import java.time.Duration;
import java.util.List;
import java.util.Locale;

/**
 * What the device writes for one commit of one counter, compared with a bare write in the same
 * round.
 */
final class DeviceWrites {

    private static final int COMMITS = 2_000;

    /** Figures of one entrant, per commit. */
    private record Figures(Entrant entrant, Samples requests, Samples bytes) {
        Figures(Entrant entrant) {
            this(entrant, new Samples(), new Samples());
        }
    }

    private DeviceWrites() {}

    static String measure(Settings settings, Targets targets) throws Exception {
        Machine machine = new Machine(settings.directory());
        String work = "device writes per commit, one counter";
        if (machine.writes().isEmpty()) {
            targets.notMeasured(work, "the kernel does not report writes");
            return "## Device writes\n\nNot measured: the kernel does not report writes for this file system.\n";
        }
        Figures bare = new Figures(Entrant.BARE_WRITE);
        Figures ours = new Figures(Entrant.COUNTERSET);
        for (int round = 1; round <= settings.rounds(); round++) {
            System.err.println("round " + round + ": device writes");
            commit(bare, machine, settings);
            commit(ours, machine, settings);
        }
        targets.atMost(work, bare.entrant.title(), 1.05, ours.requests.ratioTo(bare.requests), "%.2f ×");
        Table table = new Table("one caller, one counter", "device writes per commit", "bytes per commit");
        for (Figures figures : List.of(bare, ours)) {
            table.row(
                    figures.entrant.title(),
                    String.format(Locale.ROOT, "%.2f", figures.requests.median()),
                    String.format(Locale.ROOT, "%,.0f", figures.bytes.median()));
        }
        return "## Device writes\n\n" + table;
    }

    private static void commit(Figures figures, Machine machine, Settings settings) throws Exception {
        try (Scratch scratch = Scratch.in(settings.directory());
                Contender contender = figures.entrant.open(scratch.path(), Duration.ZERO)) {
            Writes before = machine.writes().orElseThrow();
            for (int i = 0; i < COMMITS; i++) {
                contender.increment();
            }
            Writes after = machine.writes().orElseThrow();
            figures.requests.add((after.requests() - before.requests()) / (double) COMMITS);
            figures.bytes.add((after.bytes() - before.bytes()) / (double) COMMITS);
        }
    }
}
