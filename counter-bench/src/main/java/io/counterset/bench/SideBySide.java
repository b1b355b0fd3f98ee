// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.nio.file.Files;
import java.security.CodeSource;
import java.util.List;
import java.util.Objects;
import java.util.stream.Collectors;
import java.util.stream.Stream;

/**
 * Measures counter-core, its rivals and its limits in one run, on one file system and in turn, so
 * that other load on the machine affects all of them alike. Prints Markdown; progress goes to
 * standard error.
 */
public final class SideBySide {

    private interface Measurement {
        String run(Settings settings, Targets targets) throws Exception;
    }

    enum Part {
        INCREMENTS(Increments::measure),
        ASYNC(AsyncAdds::measure),
        MEMORY(MemoryPaths::measure),
        COUNTERS(ManyCounters::measure),
        WRITES(DeviceWrites::measure);

        @SuppressWarnings("ImmutableEnumChecker") // methods
        private final Measurement measurement;

        Part(Measurement measurement) {
            this.measurement = measurement;
        }
    }

    private SideBySide() {}

    public static void main(String[] arguments) throws Exception {
        if (List.of(arguments).contains("--help")) {
            System.out.print(Settings.USAGE);
            return;
        }
        Settings settings;
        try {
            settings = Settings.parse(arguments);
        } catch (IllegalArgumentException e) {
            System.err.println(e.getMessage());
            System.err.print(Settings.USAGE);
            System.exit(2);
            return;
        }
        Files.createDirectories(settings.directory());
        System.out.println("# counter-core and its rivals\n");
        new Machine(settings.directory()).facts().forEach(fact -> System.out.println("- " + fact));
        System.out.println("- Rivals: " + versions());
        System.out.println("- Each figure is the median of " + settings.rounds() + " rounds of "
                + settings.measured().toMillis() + " ms; each ratio is the median of the rounds' ratios\n");
        Targets targets = new Targets();
        for (Part part : settings.parts()) {
            System.out.println(part.measurement.run(settings, targets));
        }
        System.out.println("## Targets\n\n" + targets);
    }

    /** Returns the names of the rivals' jars, which contain the versions. */
    private static String versions() throws Exception {
        String jars = Stream.of(
                        org.rocksdb.RocksDB.class,
                        org.h2.mvstore.MVStore.class,
                        org.sqlite.JDBC.class,
                        org.lmdbjava.Env.class,
                        jetbrains.exodus.env.Environments.class,
                        org.mapdb.DBMaker.class)
                .map(type -> type.getProtectionDomain().getCodeSource())
                .filter(Objects::nonNull)
                .map(CodeSource::getLocation)
                .map(location -> location.getPath().replaceAll(".*/", "").replaceAll("\\.jar$", ""))
                .collect(Collectors.joining(", "));
        return jars + ", " + (RedisServer.isInstalled() ? RedisServer.version() : "no redis-server installed");
    }
}
