// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import io.counterset.CounterStoreException.DirectoryUnusableException;
import java.io.BufferedReader;
import java.io.BufferedWriter;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStreamWriter;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileAlreadyExistsException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;

/**
 * {@code java -jar counter-core.jar}: inspects, exports, imports and salvages stores on disk. Each
 * exit status has one meaning.
 */
final class CommandLine {

    static final int DONE = 0;
    static final int DAMAGED = 1;
    static final int WRONG_USAGE = 2;
    static final int NO_STORE = 3;
    static final int FAILED = 4;

    private static final String HELP = """
            Inspects, exports, imports or salvages the store in a directory. The store may be in use.

            java -jar counter-core.jar inspect DIR [--json]   prints the identity, counters and damage of the store
            java -jar counter-core.jar verify DIR [--json]    prints only whether the store is intact
            java -jar counter-core.jar export DIR             prints counters and idempotency keys as lines of JSON
            java -jar counter-core.jar import NEW             creates a store in a new directory from such lines on standard input
            java -jar counter-core.jar salvage DIR NEW        writes the intact part to a new directory and lists the damage

            With --progress, each command reports its steps on standard error.
            Exit status: 0 done, intact; 1 damaged journal; 2 wrong usage; 3 no store there; 4 any other failure.
            """;

    private final InputStream in;
    private final PrintStream sink; // under out; only its checkError reports a failed write
    private final PrintWriter out;
    private final PrintStream err;
    private boolean showsProgress;

    CommandLine(InputStream in, PrintStream out, PrintStream err) {
        this.in = in;
        this.sink = out;
        this.out = new PrintWriter(new BufferedWriter(new OutputStreamWriter(out, StandardCharsets.UTF_8)));
        this.err = err;
    }

    public static void main(String[] arguments) {
        System.exit(new CommandLine(System.in, System.out, System.err).run(arguments));
    }

    /** Runs the command and returns the exit status. */
    int run(String... arguments) {
        int status = execute(new ArrayList<>(Arrays.asList(arguments)));
        out.flush();
        if (sink.checkError() && status == DONE) {
            err.println("the output could not be written");
            return FAILED;
        }
        return status;
    }

    private int execute(List<String> arguments) {
        boolean json = arguments.remove("--json");
        showsProgress = arguments.remove("--progress");
        String command = arguments.isEmpty() ? "" : arguments.get(0);
        int paths = command.equals("salvage") ? 2 : 1;
        if (List.of("help", "--help", "-h").contains(command)) {
            out.print(HELP);
            return DONE;
        }
        boolean known =
                List.of("inspect", "verify", "export", "import", "salvage").contains(command);
        boolean mayBeJson = List.of("inspect", "verify", "export").contains(command);
        if (!known || arguments.size() != 1 + paths || (json && !mayBeJson)) {
            err.print(HELP);
            return WRONG_USAGE;
        }
        try {
            Path directory = Path.of(arguments.get(1));
            return switch (command) {
                case "inspect" -> inspect(directory, json, true);
                case "verify" -> inspect(directory, json, false);
                case "export" -> export(directory);
                case "import" -> importTo(directory);
                default -> salvage(directory, Path.of(arguments.get(2)));
            };
        } catch (DirectoryUnusableException e) {
            err.println(e.getMessage());
            return e.getCause() instanceof NoSuchFileException ? NO_STORE : FAILED;
        } catch (CounterStoreException | IOException | InvalidPathException e) {
            err.println(e.getMessage());
            return FAILED;
        }
    }

    // ---- the commands ----

    private StoreInspection read(Path directory) {
        progress("reading " + directory);
        StoreInspection store = CounterStore.inspect(directory);
        progress(String.format(
                Locale.ROOT, "read %,d counters and %,d keys", store.counters().size(), store.keys()));
        return store;
    }

    private void progress(String doing) {
        if (showsProgress) {
            err.println(doing);
        }
    }

    private int inspect(Path directory, boolean json, boolean counters) {
        StoreInspection store = read(directory);
        String state = store.damage().isPresent() ? "damaged" : store.isTorn() ? "torn" : "intact";
        if (json) {
            out.println("{\"file\":" + Export.quoted(store.file().toString()) + ",\"state\":\"" + state + "\""
                    + store.identity()
                            .map(identity ->
                                    ",\"store\":\"" + identity.id() + "\",\"incarnation\":" + identity.incarnation())
                            .orElse("")
                    + ",\"sequence\":" + store.sequence() + ",\"counters\":"
                    + store.counters().size() + ",\"keys\":" + store.keys()
                    + store.damage()
                            .map(damage -> ",\"damagedAt\":" + damage.offset() + ",\"expected\":"
                                    + Export.quoted(damage.expected()) + ",\"found\":"
                                    + Export.quoted(damage.found()))
                            .orElse("")
                    + "}");
            store.damaged().forEach(line -> out.println("{\"damaged\":" + Export.quoted(line) + "}"));
            if (counters) {
                store.counters()
                        .forEach((name, total) ->
                                out.println("{\"counter\":" + Export.quoted(name) + ",\"total\":" + total + "}"));
            }
        } else {
            out.printf(Locale.ROOT, "%s (%,d bytes) is %s%n", store.file(), store.fileBytes(), state);
            if (store.isTorn()) {
                out.println("  the last batch is incomplete: torn by a crash, or being written right now;"
                        + " no acknowledged add is missing");
            }
            store.damage()
                    .ifPresent(damage -> out.printf(
                            Locale.ROOT,
                            "  at byte %,d: expected %s, found %s%n",
                            damage.offset(),
                            damage.expected(),
                            damage.found()));
            store.damaged().forEach(line -> out.println("  " + line));
            if (counters) {
                describe(store);
            }
        }
        return store.damage().isPresent() ? DAMAGED : DONE;
    }

    private void describe(StoreInspection store) {
        out.println("store        "
                + store.identity().map(identity -> identity.id().toString()).orElse("unknown; the header is damaged"));
        store.identity().ifPresent(identity -> out.println("incarnation  " + identity.incarnation()));
        out.println("sequence     " + store.sequence());
        out.println("keys         " + store.keys());
        out.println("counters     " + store.counters().size());
        store.counters().forEach((name, total) -> out.printf(Locale.ROOT, "%20d  %s%n", total, shown(name)));
    }

    /** Returns a name unchanged if it needs no escapes; otherwise quoted, with escapes. */
    private static String shown(String name) {
        String quoted = Export.quoted(name);
        return quoted.length() == name.length() + 2 ? name : quoted;
    }

    private int export(Path directory) {
        StoreInspection store = read(directory);
        if (store.damage().isPresent()) {
            err.println(store.damage().get().getMessage() + "; nothing was exported; salvage the store first");
            return DAMAGED;
        }
        Export.write(store, out);
        return DONE;
    }

    private int importTo(Path directory) throws IOException {
        Export.Content content = Export.read(new BufferedReader(new InputStreamReader(in, StandardCharsets.UTF_8)));
        write(directory, content.identity(), content.sequence(), content.counters(), content.keys());
        err.println(directory + ": imported " + content.counters().size() + " counters and "
                + content.keys().size() + " keys");
        return DONE;
    }

    private int salvage(Path directory, Path target) throws IOException {
        StoreInspection store = read(directory);
        write(
                target,
                store.contents.identity(),
                store.sequence(),
                new ArrayList<>(store.contents.cells().values()),
                store.contents.keys().list());
        if (store.damage().isPresent()) {
            out.println("not intact: " + store.damage().get().getMessage());
        }
        store.damaged().forEach(line -> out.println("not intact: " + line));
        if (store.identity().isEmpty()) {
            out.println("not intact: the header; the new store has a new identity");
        }
        out.println(target + ": saved " + store.counters().size() + " counters and " + store.keys() + " keys");
        return store.damage().isPresent() ? DAMAGED : DONE;
    }

    private void write(
            Path directory,
            StoreIdentity identity,
            long sequence,
            List<Counter> counters,
            List<RememberedKeys.Entry> keys)
            throws IOException {
        progress(String.format(Locale.ROOT, "writing %,d counters to %s", counters.size(), directory));
        try (DirectoryStorage storage = DirectoryStorage.open(directory)) {
            Journal.write(storage, identity, sequence, counters, keys);
        } catch (FileAlreadyExistsException e) {
            throw new IOException(directory + " already has a store; choose a new directory; nothing was changed", e);
        } catch (IOException e) {
            throw new IOException(
                    directory + " cannot be written: " + e.getMessage()
                            + (Files.exists(directory.resolve(Journal.FILE))
                                    ? "; a store was created, but a crash of the machine may lose it"
                                    : "; no store was created"),
                    e);
        }
    }
}
