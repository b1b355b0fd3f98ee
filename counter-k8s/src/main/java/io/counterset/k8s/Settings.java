// SPDX-License-Identifier: Apache-2.0
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
 * Reads settings in the same way for all modules: strips white space, treats an empty value as
 * absent, and rejects placeholders and undecodable text. Each rejection is an
 * {@link IllegalArgumentException} whose message is one line,
 * {@code SETTING: 'value' is invalid; expected ...}. Thread-safe.
 */
public final class Settings {

    /**
     * The variables that Kubernetes adds to each container for a service named {@code counter} or
     * {@code counter-…}.
     */
    private static final Pattern SERVICE_LINK = Pattern.compile(
            "COUNTER(_.*)?_(SERVICE_(HOST|PORT(_.*)?)|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)");

    private static final String PREFIX = "COUNTER_";

    private final Environment properties;
    private final Set<String> read = new ConcurrentSkipListSet<>();

    public Settings(Environment properties) {
        this.properties = properties;
    }

    /** Returns the stripped text of a setting; empty if it is absent or blank. */
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

    /**
     * Checks the value as it was written, because Micronaut replaces placeholders when it reads a
     * property.
     */
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
     * Returns normally if {@code value} is plain text.
     *
     * @throws IllegalArgumentException if it contains a placeholder or could not be decoded
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

    /**
     * Returns the stripped elements of a comma-separated setting; none if it is absent or blank.
     */
    public List<String> list(String name) {
        return text(name).stream()
                .flatMap(text -> Arrays.stream(text.split(",", -1)))
                .map(String::strip)
                .toList();
    }

    /**
     * Returns a whole number from {@code least} to {@code most}; empty if the setting is absent.
     */
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

    /**
     * Returns the duration that a text such as {@code 100ms}, {@code 2s} or {@code PT3S} denotes;
     * null if it is invalid.
     */
    public static @Nullable Duration toDuration(String text) {
        return ConversionService.SHARED
                .convert(text, ConversionContext.of(Duration.class))
                .orElse(null);
    }

    /**
     * Returns a duration; empty if the setting is absent. {@code expected} describes the valid
     * values in the error message.
     */
    public Optional<Duration> duration(String name, String expected) {
        return text(name).map(text -> {
            Duration duration = toDuration(text);
            if (duration == null) {
                throw invalid(name, text, expected);
            }
            return duration;
        });
    }

    /**
     * Returns the path of a directory that exists or can be created later; empty if the setting is
     * absent.
     */
    public Optional<Path> directory(String name) {
        return text(name).map(text -> {
            Path path = path(name, text);
            if (Files.exists(path) && !Files.isDirectory(path)) {
                throw invalid(name, text, "the path of a directory; this is a file");
            }
            return path;
        });
    }

    /** Returns the path of a file that this process can read; empty if the setting is absent. */
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

    /** Returns the exception for an invalid value. */
    public static IllegalArgumentException invalid(String name, String value, String expected) {
        return new IllegalArgumentException(name + ": '" + printable(value) + "' is invalid; expected " + expected);
    }

    /** Keeps a message on one line of reasonable length for any value. */
    private static String printable(String text) {
        String line = text.replaceAll("[\\p{C}\\u2028\\u2029]", "\uFFFD");
        return line.length() <= 200 ? line : line.substring(0, 200) + "…";
    }

    /**
     * Returns the environment variable of a setting: {@code COUNTER_MAX_PENDING} for
     * {@code counter.max-pending}.
     */
    public static String variable(String name) {
        return name.toUpperCase(Locale.ROOT).replaceAll("[.-]", "_");
    }

    /** Returns the names of all settings that were read so far, sorted. */
    public Set<String> names() {
        return new TreeSet<>(read);
    }

    /**
     * Returns a warning for each variable that begins with {@code COUNTER_} and belongs to no
     * setting, with the name of the most similar setting. Variables that Kubernetes adds for its
     * services are ignored. Call this after all settings have been read.
     *
     * @param variables the names of the environment variables
     * @param others the variables of settings that are read elsewhere
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

    /** Returns the Levenshtein distance: the number of characters to insert, remove or replace. */
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
