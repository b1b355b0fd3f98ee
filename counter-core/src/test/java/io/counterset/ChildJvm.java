// SPDX-License-Identifier: Apache-2.0
package io.counterset;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.jspecify.annotations.Nullable;

/** Another JVM and its output. By default it opens a store, prints the outcome and waits. */
final class ChildJvm implements AutoCloseable {

    private final Process process;
    private final BufferedReader output;

    private ChildJvm(Process process) {
        this.process = process;
        this.output = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.US_ASCII));
    }

    static ChildJvm start(Path directory) throws IOException {
        return start(Holder.class, directory.toString());
    }

    static ChildJvm start(Class<?> main, String... arguments) throws IOException {
        return start(command(main, arguments));
    }

    /** Starts the JVM with an option, such as {@code -Xss64m}. */
    static ChildJvm startWith(String option, Class<?> main, String... arguments) throws IOException {
        List<String> command = command(main, arguments);
        command.add(1, option);
        return start(command);
    }

    /** Starts the JVM in a shell that has run {@code limits}, such as {@code ulimit -f 1024}. */
    static ChildJvm startLimited(String limits, Path directory) throws IOException {
        List<String> command = new ArrayList<>(List.of("sh", "-c", limits + " && exec \"$@\"", "sh"));
        command.addAll(command(Holder.class, directory.toString()));
        return start(command);
    }

    private static List<String> command(Class<?> main, String... arguments) {
        List<String> command = new ArrayList<>(List.of(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "-XX:TieredStopAtLevel=1",
                "-XX:+UseSerialGC",
                "-Xshare:auto",
                "-Xlog:disable", // otherwise its warnings would appear among the lines
                "-cp",
                System.getProperty("surefire.test.class.path", System.getProperty("java.class.path")),
                main.getName()));
        command.addAll(List.of(arguments));
        return command;
    }

    private static ChildJvm start(List<String> command) throws IOException {
        return new ChildJvm(new ProcessBuilder(command)
                .redirectError(ProcessBuilder.Redirect.INHERIT)
                .start());
    }

    @Nullable
    String line() throws IOException {
        return output.readLine();
    }

    long pid() {
        return process.pid();
    }

    /** Waits until the process ends by itself, and returns its exit status. */
    int exitValue(int withinSeconds) {
        return process.onExit()
                .orTimeout(withinSeconds, TimeUnit.SECONDS)
                .join()
                .exitValue();
    }

    /**
     * Sends SIGKILL: no handler runs and no buffer is flushed. Lines already printed can still be
     * read.
     */
    void kill() {
        process.toHandle().destroyForcibly(); // Process.destroyForcibly would also close the pipe
        process.onExit().orTimeout(30, TimeUnit.SECONDS).join();
    }

    @Override
    public void close() {
        kill();
    }

    /** Holds a store open until it is killed. */
    static final class Holder {
        public static void main(String[] directory) throws InterruptedException {
            try (CounterStore store = CounterStore.open(Path.of(directory[0]))) {
                System.out.println("opened " + store.counter("c").value());
                Thread.currentThread().join(); // until killed
            } catch (CounterStoreException e) {
                System.out.println("refused: " + e.getMessage());
            }
        }
    }
}
