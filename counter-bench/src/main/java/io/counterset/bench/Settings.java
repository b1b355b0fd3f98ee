// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.Iterator;
import java.util.List;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * What to measure, and for how long.
 *
 * @param directory on the file system to measure; every measurement creates a temporary directory
 *     in it
 * @param measured the duration of each measurement, without the warm-up before it, which takes a
 *     third as long
 * @param rounds how often each measurement is repeated, interleaved with the others
 * @param threads the numbers of callers to measure, one after another
 * @param busy the number of other threads that keep processors busy while increments are measured
 * @param delay added to each flush while increments are measured, to simulate a slower device
 * @param entrants the contenders to measure
 * @param parts the measurements to run
 * @param picture the SVG file for a bar chart of the increments, or null
 */
record Settings(
        Path directory,
        Duration measured,
        int rounds,
        List<Integer> threads,
        int busy,
        Duration delay,
        Set<Entrant> entrants,
        Set<SideBySide.Part> parts,
        @Nullable Path picture) {

    static final String USAGE = """
            usage: java -jar counter-bench.jar [options]
              --directory DIR   a directory on the file system to measure (default: the working directory)
              --seconds S       duration of each measurement without its warm-up (default: 0.5; use 5 for published figures)
              --rounds N        repetitions of each measurement, interleaved with the others (default: 3)
              --threads N,...   numbers of callers (default: 1,16,64,256)
              --busy N          busy loops during increments; one per processor simulates a busy machine (default: 0)
              --delay MILLIS    makes each flush slower, for bare_write, bare_group_commit and counterset only (default: 0)
              --entrants E,...  contenders, from %s (default: all)
              --parts P,...     measurements, from %s (default: all)
              --picture FILE    also draws the increments with 64 callers, or else the most callers, as SVG
              --help            prints this text
            """.formatted(names(Entrant.class), names(SideBySide.Part.class));

    static Settings parse(String... arguments) {
        Path directory = Path.of("");
        double seconds = 0.5;
        int rounds = 3;
        List<Integer> threads = List.of(1, 16, 64, 256);
        int busy = 0;
        double delay = 0;
        Set<Entrant> entrants = EnumSet.allOf(Entrant.class);
        Set<SideBySide.Part> parts = EnumSet.allOf(SideBySide.Part.class);
        Path picture = null;
        Iterator<String> rest = List.of(arguments).iterator();
        while (rest.hasNext()) {
            String option = rest.next();
            if (!rest.hasNext()) {
                throw new IllegalArgumentException(option + " needs a value");
            }
            String value = rest.next();
            switch (option) {
                case "--directory" -> directory = Path.of(value);
                case "--seconds" -> seconds = Double.parseDouble(value);
                case "--rounds" -> rounds = Integer.parseInt(value);
                case "--threads" ->
                    threads = Stream.of(value.split(",", -1))
                            .map(Integer::valueOf)
                            .toList();
                case "--busy" -> busy = Integer.parseInt(value);
                case "--delay" -> delay = Double.parseDouble(value);
                case "--entrants" -> entrants = set(Entrant.class, value);
                case "--parts" -> parts = set(SideBySide.Part.class, value);
                case "--picture" -> picture = Path.of(value);
                default -> throw new IllegalArgumentException("unknown option: " + option);
            }
        }
        if (!(seconds > 0)
                || rounds < 1
                || busy < 0
                || !(delay >= 0)
                || threads.stream().anyMatch(n -> n < 1)) {
            throw new IllegalArgumentException(
                    "--seconds, --rounds and --threads must be more than 0, --busy and --delay 0 or more");
        }
        boolean isSlowed = delay > 0;
        entrants.removeIf(entrant -> !entrant.isPresent() || (isSlowed && !entrant.canBeSlowed()));
        return new Settings(
                directory.toAbsolutePath(),
                Duration.ofNanos((long) (seconds * 1e9)),
                rounds,
                threads,
                busy,
                Duration.ofNanos((long) (delay * 1e6)),
                entrants,
                parts,
                picture);
    }

    Duration warmUp() {
        return measured.dividedBy(3);
    }

    private static <E extends Enum<E>> Set<E> set(Class<E> type, String names) {
        return Stream.of(names.split(",", -1))
                .map(name -> Enum.valueOf(type, name.toUpperCase(Locale.ROOT)))
                .collect(Collectors.toCollection(() -> EnumSet.noneOf(type)));
    }

    private static String names(Class<? extends Enum<?>> type) {
        return Arrays.stream(type.getEnumConstants())
                .map(constant -> constant.name().toLowerCase(Locale.ROOT))
                .collect(Collectors.joining(","));
    }
}
