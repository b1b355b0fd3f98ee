package io.counterset.bench;

import io.counterset.bench.Machine.Writes;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;

/** What the device is made to write for one commit of one counter, beside a bare write in the same round. */
final class DeviceWrites {

    private static final int COMMITS = 2_000;

    private DeviceWrites() {}

    static String measure(Settings settings, Targets targets) throws Exception {
        Machine machine = new Machine(settings.directory());
        String work = "device writes per commit, one counter";
        if (machine.writes().isEmpty()) {
            targets.notMeasured(work, "the kernel does not tell");
            return "## Device writes\n\nNot measured: the kernel does not tell for this file system.\n";
        }
        List<Entrant> entrants = List.of(Entrant.BARE_WRITE, Entrant.COUNTERSET);
        Map<Entrant, Samples> requests = new EnumMap<>(Entrant.class);
        Map<Entrant, Samples> bytes = new EnumMap<>(Entrant.class);
        for (int round = 1; round <= settings.rounds(); round++) {
            System.err.println("round " + round + ": device writes");
            for (Entrant entrant : entrants) {
                try (Scratch scratch = Scratch.in(settings.directory());
                        Contender contender = entrant.open(scratch.path())) {
                    Optional<Writes> before = machine.writes();
                    for (int i = 0; i < COMMITS; i++) {
                        contender.increment();
                    }
                    Optional<Writes> after = machine.writes();
                    requests.computeIfAbsent(entrant, e -> new Samples())
                            .add((after.orElseThrow().requests()
                                            - before.orElseThrow().requests())
                                    / (double) COMMITS);
                    bytes.computeIfAbsent(entrant, e -> new Samples())
                            .add((after.orElseThrow().bytes()
                                            - before.orElseThrow().bytes())
                                    / (double) COMMITS);
                }
            }
        }
        targets.atMost(
                work,
                Entrant.BARE_WRITE.title(),
                1.05,
                requests.getOrDefault(Entrant.COUNTERSET, new Samples())
                        .ratioTo(requests.getOrDefault(Entrant.BARE_WRITE, new Samples())),
                "%.2f ×");
        Table table = new Table("one caller, one counter", "device writes a commit", "bytes a commit");
        for (Entrant entrant : entrants) {
            table.row(
                    entrant.title(),
                    String.format(
                            Locale.ROOT,
                            "%.2f",
                            requests.getOrDefault(entrant, new Samples()).median()),
                    String.format(
                            Locale.ROOT,
                            "%,.0f",
                            bytes.getOrDefault(entrant, new Samples()).median()));
        }
        return "## Device writes\n\n" + table;
    }
}
