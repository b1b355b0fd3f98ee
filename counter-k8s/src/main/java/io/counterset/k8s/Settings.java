package io.counterset.k8s;

import io.micronaut.context.env.Environment;
import io.micronaut.context.env.PropertySource;
import io.micronaut.core.convert.ConversionContext;
import io.micronaut.core.convert.ConversionService;
import io.micronaut.core.type.Argument;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Arrays;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.jspecify.annotations.Nullable;

/**
 * Reads settings: all modules strip white space, treat an empty value as absent, and refuse placeholders and undecodable text in the
 * same way. Each refusal is an {@link IllegalArgumentException} whose message is one line, {@code SETTING: 'value' is invalid;
 * expected ...}. Thread-safe.
 */
public final class Settings {

    /** The variables that Kubernetes adds to each container for a service named {@code counter} or {@code counter-...}. */
    private static final Pattern SERVICE_LINK = Pattern.compile(
            "COUNTER(_.*)?_(SERVICE_(HOST|PORT(_.*)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)");

    private static final String PREFIX = "COUNTER_";

    private final Environment properties;
    private final Set<String> read = new ConcurrentSkipListSet<>();

    public Settings(Environment properties) {
        this.properties = properties;
    }

    /** Returns the stripped text of a setting, or nothing if it is absent or blank. */
    public Optional<String> text(String name) {
        read.add(name);
        for (PropertySource source : properties.getPropertySources()) {
            checkRaw(name, source);
        }
        // A YAML list arrives as a list, an environment variable as one string.
        Optional<String> text = properties
                .getProperty(name, Argument.listOf(String.class))
                .map(list -> String.join(",", list))
                .or(() -> properties.getProperty(name, String.class))
                .map(String::strip)
                .filter(value -> !value.isEmpty());
        text.ifPresent(value -> checkText(name, value));
        return text;
    }

    /** The value as it was written: Micronaut replaces placeholders when it reads a property. */
    private static void checkRaw(String name, PropertySource source) {
        String key = source.getConvention() == PropertySource.PropertyConvention.ENVIRONMENT_VARIABLE
                ? variable(name)
                : name;
        Object raw = source.get(key);
        if (raw instanceof CharSequence text) {
            checkText(name, text.toString());
        }
    }

    /**
     * Returns if {@code value} is plain text.
     *
     * @throws IllegalArgumentException if it has a placeholder or was not decodable
     */
    public static void checkText(String name, String value) {
        if (value.contains("${")) {
            throw invalid(name, value, "a value without ${...}: placeholders are not replaced");
        } else if (value.indexOf('\uFFFD') >= 0) {
            throw invalid(
                    name,
                    value,
                    "text in the encoding of the locale, which is " + System.getProperty("sun.jnu.encoding", "unknown")
                            + "; for other characters set LANG=C.UTF-8");
        }
    }

    /** Returns the elements of a setting whose text is separated by commas, each stripped; none if it is absent or blank. */
    public List<String> list(String name) {
        return text(name).stream()
                .flatMap(text -> Arrays.stream(text.split(",", -1)))
                .map(String::strip)
                .toList();
    }

    /** Returns a whole number from {@code least} to {@code most}, or nothing. */
    public Optional<Long> number(String name, long least, long most) {
        return text(name).map(text -> {
            try {
                long number = Long.parseLong(text);
                if (number >= least && number <= most) {
                    return number;
                }
            } catch (NumberFormatException e) {
                // Refused below.
            }
            throw invalid(name, text, "a whole number from " + least + " to " + most);
        });
    }

    /** Returns the duration that a text such as {@code 100ms}, {@code 2s} or {@code PT3S} means, or null. */
    public static @Nullable Duration toDuration(String text) {
        return ConversionService.SHARED
                .convert(text, ConversionContext.of(Duration.class))
                .orElse(null);
    }

    /** Returns a duration, or nothing; {@code expected} says in words which ones are valid. */
    public Optional<Duration> duration(String name, String expected) {
        return text(name).map(text -> {
            Duration duration = toDuration(text);
            if (duration == null) {
                throw invalid(name, text, expected);
            }
            return duration;
        });
    }

    /** Returns the path of a directory that exists or can be created later, or nothing. */
    public Optional<Path> directory(String name) {
        return text(name).map(text -> {
            Path path = path(name, text);
            if (Files.exists(path) && !Files.isDirectory(path)) {
                throw invalid(name, text, "the path of a directory; this is a file");
            }
            return path;
        });
    }

    /** Returns the path of a file that this process can read, or nothing. */
    public Optional<Path> file(String name) {
        return text(name).map(text -> {
            Path path = path(name, text);
            if (!Files.isRegularFile(path) || !Files.isReadable(path)) {
                throw invalid(name, text, "the path of a readable file");
            }
            return path;
        });
    }

    private static Path path(String name, String text) {
        try {
            return Path.of(text);
        } catch (InvalidPathException e) {
            throw invalid(name, text, "a path of the file system");
        }
    }

    /** Returns the exception that refuses a value. */
    public static IllegalArgumentException invalid(String name, String value, String expected) {
        return new IllegalArgumentException(name + ": '" + printable(value) + "' is invalid; expected " + expected);
    }

    /** Keeps a message on one line of reasonable length, whatever the value. */
    private static String printable(String text) {
        String line = text.replaceAll("[\\p{C}\\u2028\\u2029]", "\uFFFD");
        return line.length() <= 200 ? line : line.substring(0, 200) + "…";
    }

    /** Returns the environment variable of a setting: {@code COUNTER_MAX_PENDING} for {@code counter.max-pending}. */
    public static String variable(String name) {
        return name.toUpperCase(Locale.ROOT).replaceAll("[.-]", "_");
    }

    /** Returns the names of all settings that were read so far, sorted. */
    public Set<String> names() {
        return new TreeSet<>(read);
    }

    /**
     * Returns a warning for each variable that begins with {@code COUNTER_} and belongs to no setting, with the nearest variable that
     * does. Variables that Kubernetes adds for its services are none. Call it after all settings were read.
     *
     * @param variables the names of the environment's variables
     * @param others settings that were not read here
     */
    public List<String> unknown(Collection<String> variables, String... others) {
        List<String> known = Stream.concat(read.stream().map(Settings::variable), Stream.of(others))
                .filter(variable -> variable.startsWith(PREFIX))
                .sorted()
                .toList();
        return variables.stream()
                .filter(variable -> variable.startsWith(PREFIX))
                .filter(variable -> !known.contains(variable))
                .filter(variable -> !SERVICE_LINK.matcher(variable).matches())
                .sorted()
                .map(variable -> printable(variable) + " is not a setting and is ignored; " + nearest(variable, known))
                .toList();
    }

    private static String nearest(String variable, List<String> known) {
        String best = "";
        int least = Integer.MAX_VALUE;
        for (String candidate : known) {
            int distance = distance(variable, candidate);
            if (distance < least) {
                least = distance;
                best = candidate;
            }
        }
        return "the nearest setting is " + best;
    }

    /** Levenshtein's distance: how many characters must be inserted, removed or replaced. */
    private static int distance(String a, String b) {
        int[] row = new int[b.length() + 1];
        for (int j = 0; j < row.length; j++) {
            row[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int diagonal = row[0];
            row[0] = i;
            for (int j = 1; j < row.length; j++) {
                int replaced = diagonal + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
                diagonal = row[j];
                row[j] = Math.min(replaced, Math.min(row[j], row[j - 1]) + 1);
            }
        }
        return row[b.length()];
    }
}
