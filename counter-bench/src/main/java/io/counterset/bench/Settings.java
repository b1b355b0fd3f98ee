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
 * @param directory on the file system to be measured; every measurement makes a directory of its own in it
 * @param measured how long each measurement lasts, after a third as long to warm up
 * @param rounds how often each is repeated, in turn with the others
 * @param threads how many callers, one after the other
 * @param busy how many other threads keep the processors busy while increments are measured
 * @param picture the SVG file to write the increments to as a bar chart, or null
 */
record Settings(
        Path directory,
        Duration measured,
        int rounds,
        List<Integer> threads,
        int busy,
        Set<Entrant> entrants,
        Set<SideBySide.Part> parts,
        @Nullable Path picture) {

    static final String USAGE = """
            usage: java -jar counter-bench.jar [options]
              --directory DIR   on the file system to measure (default: the working directory)
              --seconds S       of each measurement, warming up not counted (default: 0.5; 5 for a record)
              --rounds N        how often each is repeated, in turn with the others (default: 3)
              --threads N,...   (default: 1,16,64,256)
              --busy N          busy loops beside the increments, as many as processors for a contended machine (default: 0)
              --entrants E,...  of %s (default: all)
              --parts P,...     of %s (default: all)
              --picture FILE    also draws the increments as SVG, for 64 threads or else the most measured
              --help            prints this
            """.formatted(names(Entrant.class), names(SideBySide.Part.class));

    static Settings parse(String... arguments) {
        Path directory = Path.of("");
        double seconds = 0.5;
        int rounds = 3;
        List<Integer> threads = List.of(1, 16, 64, 256);
        int busy = 0;
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
                case "--entrants" -> entrants = set(Entrant.class, value);
                case "--parts" -> parts = set(SideBySide.Part.class, value);
                case "--picture" -> picture = Path.of(value);
                default -> throw new IllegalArgumentException("no such option: " + option);
            }
        }
        if (!(seconds > 0) || rounds < 1 || busy < 0 || threads.stream().anyMatch(n -> n < 1)) {
            throw new IllegalArgumentException("seconds, rounds and threads must be more than 0, busy 0 or more");
        }
        entrants.removeIf(entrant -> !entrant.isPresent());
        return new Settings(
                directory.toAbsolutePath(),
                Duration.ofNanos((long) (seconds * 1e9)),
                rounds,
                threads,
                busy,
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
