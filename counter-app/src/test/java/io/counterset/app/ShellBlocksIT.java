// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assumptions.assumeThat;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The shell blocks of the documentation work as printed, and print what the documentation shows.
 * Ports and folders are replaced by free ones. Blocks that need what a test does not have are not
 * run: see {@link #NEEDED}.
 */
class ShellBlocksIT {

    private static final Path ROOT = Path.of("..");
    private static final Pattern BLOCK = Pattern.compile("(?ms)^ *```(\\w*)\\R(.*?)^ *```$");

    /** The commands of blocks that are not run, and what they need. */
    private static final Map<String, String> NEEDED = Map.of(
            "kubectl|helm|kind|http://ADDRESS/\\S*", "a cluster",
            "docker|buildah|\\.ci/image", "a container engine",
            "gpg|cosign|oras", "a registry and keys",
            "mvn", "a build",
            "counter-bench/\\S*\\.jar|docs/benchmarks-http\\.sh", "a quiet machine",
            "-XX:AOT\\S*", "JDK 25 and a training run");

    @TempDir
    private Path folder;

    /** A block of a page without a language, and thus of the shell. */
    private record Block(String page, String text) {

        boolean isRun() {
            return NEEDED.keySet().stream()
                    .noneMatch(command -> Pattern.compile("(?m)(^|[\\s(])(" + command + ")(\\s|$)")
                            .matcher(text)
                            .find());
        }
    }

    private static List<Block> blocks(String page) {
        try {
            return BLOCK.matcher(Files.readString(ROOT.resolve(page)))
                    .results()
                    .filter(block -> block.group(1).isEmpty())
                    .map(block -> new Block(page, block.group(2)))
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    @BeforeEach
    void requireShell() throws Exception {
        assumeThat(Stream.of("bash", "curl").allMatch(ShellBlocksIT::isInstalled))
                .as("bash and curl are installed")
                .isTrue();
        Files.createSymbolicLink(folder.resolve("counter-app"), Path.of("").toAbsolutePath());
        Files.createSymbolicLink(folder.resolve("counter-app.jar"), ServiceProcess.JAR);
        Files.createSymbolicLink(folder.resolve("lib"), ServiceProcess.JAR.resolveSibling("lib"));
    }

    private static boolean isInstalled(String program) {
        return Arrays.stream(System.getenv("PATH").split(":", -1))
                .anyMatch(path -> Files.isExecutable(Path.of(path, program)));
    }

    @Test
    void everyBlockIsRunOrNeedsWhatATestDoesNotHave() throws Exception {
        List<String> run = List.of("README.md", "docs/http.md", "docs/tutorial.md", "docs/operations.md");
        try (Stream<Path> files = Files.walk(ROOT.resolve("docs"))) {
            List<String> pages = files.map(page -> ROOT.relativize(page).toString())
                    .filter(page -> page.endsWith(".md"))
                    .collect(Collectors.toCollection(ArrayList::new));
            pages.addAll(List.of("README.md", "CONTRIBUTING.md", "SECURITY.md", "helm/counter/README.md"));
            pages.removeAll(run);
            assertThat(pages.stream().flatMap(page -> blocks(page).stream()))
                    .as("blocks that no test runs and that need nothing special")
                    .noneMatch(Block::isRun);
        }
    }

    @Test
    void readme() {
        try (ServiceProcess service = start("laptop", "")) {
            runConsoles("README.md", service);
        }
    }

    @Test
    void http() {
        int absent = ServiceProcess.freePort();
        try (ServiceProcess service = start("app-python-0", "127.0.0.1:" + absent)) {
            runConsoles("docs/http.md", service);
        }
    }

    @Test
    void tutorial() {
        List<Block> blocks =
                blocks("docs/tutorial.md").stream().filter(Block::isRun).toList();
        assertThat(blocks).hasSize(5);
        String tens = freeTens();
        String script = blocks.stream()
                .map(block -> block.text().replace("808", tens))
                .collect(Collectors.joining(
                        "\necho ----\n", "set -m\ntrap 'kill $(jobs -p) 2> /dev/null || :' EXIT\n", ""));
        String[] printed = run(script).split("----\n", -1);
        assertThat(printed[1])
                .contains("visits 1 on app-1\nvisits 1 on app-2\nvisits 2 on app-2\n", "visits: total 3,")
                .containsPattern("app-1 +live +1\\b")
                .containsPattern("app-2 +live +2\\b")
                .containsPattern("app-3 +live +0\\b");
        assertThat(printed[2]).contains("visits: at least 3,").containsPattern("app-2 +unreachable +2\\b");
        assertThat(printed[3]).containsPattern("\"count\":2.*\"replayed\":false}\\R?.*\"count\":2.*\"replayed\":true}");
    }

    @Test
    void operations() throws Exception {
        List<Block> left = blocks("docs/operations.md").stream()
                .filter(Block::isRun)
                .collect(Collectors.toCollection(ArrayList::new));
        try (ServiceProcess service = start("app-0", "")) {
            service.send("POST", "/count?by=13");
            run(take(left, "export data >"));
            String add = take(left, "restore-app-0").replace("localhost:8080", "127.0.0.1:" + service.port());
            assertThat(run(add)).contains("\"count\":20", "\"replayed\":false");
            assertThat(run(add)).contains("\"count\":20", "\"replayed\":true");
            String check = take(left, "counter-app.jar check")
                    .replace("app-python:5000", "127.0.0.1:" + service.port())
                    .replace("app-python-1", "app-0")
                    .replace("--expected 3", "--expected 1")
                    .replaceAll("3 of 3", "1 of 1")
                    .replace("total 1234", "total 20")
                    .replaceAll("\\b7\\b", "1");
            requireConsole(check);
        }
        run(take(left, "import data <"));
        try (ServiceProcess service = start("app-0", "")) {
            assertThat(service.count()).as("at the time of the export").isEqualTo(13);
            for (int i = 0; i < 20; i++) {
                service.send("POST", "/count/other");
            }
        }
        Files.createDirectory(folder.resolve("new")); // where another disk is mounted
        run(take(left, "cp -a data").replace("/mnt/new", folder.toString() + "/new"));
        assertThat(folder.resolve("new/data")).isDirectory();

        String fold = take(left, "grep '\"total\"'");
        int second = fold.indexOf("curl");
        assertThat(run(fold.substring(0, second))).contains("{\"counter\":\"visits\",\"total\":13}\n");

        damage(folder.resolve("data/counters.journal"));
        String salvage = run("set +e\n" + take(left, "salvage data"));
        assertThat(salvage).contains("visits");
        try (ServiceProcess service = start("app-0", "")) {
            assertThat(service.count()).isEqualTo(13);
            run(fold.substring(second).replace("localhost:8080", "127.0.0.1:" + service.port()));
            assertThat(service.count()).isEqualTo(26);
        }
        assertThat(left).as("blocks that were not run").isEmpty();
    }

    /** Changes a byte of a batch that others follow. */
    private static void damage(Path journal) throws IOException {
        byte[] bytes = Files.readAllBytes(journal);
        int last = bytes.length - 1;
        while (bytes[last] == 0) {
            last--;
        }
        bytes[4_096 + (last - 4_096) * 2 / 3] ^= 1;
        Files.write(journal, bytes);
    }

    private static String take(List<Block> blocks, String part) {
        Block found = blocks.stream()
                .filter(block -> block.text().contains(part))
                .findFirst()
                .orElseThrow(() -> new AssertionError("no block has '" + part + "'"));
        blocks.remove(found);
        return found.text();
    }

    private ServiceProcess start(String instance, String peers) {
        Map<String, String> environment = new HashMap<>(Map.of("COUNTER_INSTANCE", instance));
        if (!peers.isEmpty()) {
            environment.put("COUNTER_PEERS_ADDRESSES", peers);
        }
        return ServiceProcess.start(folder, environment);
    }

    private void runConsoles(String page, ServiceProcess service) {
        List<Block> blocks = blocks(page).stream().filter(Block::isRun).toList();
        assertThat(blocks).isNotEmpty();
        for (Block block : blocks) {
            requireConsole(block.text().replace("localhost:8080", "127.0.0.1:" + service.port()));
        }
    }

    /**
     * Runs the commands after {@code $}, and requires that each prints the lines that follow it.
     */
    private void requireConsole(String console) {
        for (String part : ("\n" + console).split("\n\\$ ", -1)) {
            if (part.isBlank()) {
                continue;
            }
            String[] commandAndShown = part.split("\n", 2);
            String command = commandAndShown[0];
            String shown = commandAndShown.length < 2 ? "" : commandAndShown[1].strip();
            if (command.startsWith("cat ")) { // count.txt follows the count a little later
                Awaitility.await()
                        .atMost(Duration.ofSeconds(30))
                        .until(() -> run(command).strip().equals(shown));
            } else {
                requireShown(command, run(command).strip(), shown);
            }
        }
    }

    private static void requireShown(String command, String printed, String shown) {
        if (shown.contains("[…")) { // an example of other numbers
            assertThat(names(printed)).as(command + "\n" + printed).containsAll(names(shown));
        } else if (!shown.isEmpty()) {
            String expected = Arrays.stream(withoutExamples(shown).split("…", -1))
                    .map(Pattern::quote)
                    .collect(Collectors.joining(".*", "(?s)", ""));
            assertThat(withoutExamples(printed)).as(command).matches(expected);
        }
    }

    private static List<String> names(String json) {
        return Pattern.compile("\"(\\w+)\":")
                .matcher(json)
                .results()
                .map(name -> name.group(1))
                .toList();
    }

    private static String withoutExamples(String text) {
        return text.replaceAll("\"(store|process)\":\"[^\"]*\"", "\"$1\":\"\"")
                .replaceAll("\"(incarnation|lastMinute)\":\\d+", "\"$1\":0")
                .replaceAll("\\d+ in the last minute", "0 in the last minute");
    }

    /** Returns four digits that, followed by 1, 2 or 3, are free ports. */
    private static String freeTens() {
        return Stream.generate(() -> ServiceProcess.freePort() / 10)
                .filter(tens -> IntStream.of(1, 2, 3).allMatch(n -> ServiceProcess.isFree(tens * 10 + n)))
                .map(String::valueOf)
                .findFirst()
                .orElseThrow();
    }

    /** Returns what a script prints. */
    private String run(String script) {
        try {
            Path output = Files.createTempFile(folder, "printed", ".txt");
            Path errors = Files.createTempFile(folder, "errors", ".txt");
            ProcessBuilder builder = new ProcessBuilder("bash", "-euo", "pipefail", "-c", script)
                    .directory(folder.toFile())
                    .redirectOutput(output.toFile())
                    .redirectError(errors.toFile());
            builder.environment()
                    .merge(
                            "PATH",
                            Path.of(System.getProperty("java.home"), "bin").toString(),
                            (path, java) -> java + ":" + path);
            builder.environment().put("MICRONAUT_SERVER_HOST", "127.0.0.1");
            builder.environment().put("JDK_JAVA_OPTIONS", "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Xmx128m");
            Process bash = builder.start();
            try {
                assertThat(bash.waitFor(90, TimeUnit.SECONDS)).as(script).isTrue();
                assertThat(bash.exitValue())
                        .as("%s%n%s%s", script, Files.readString(output), Files.readString(errors))
                        .isZero();
                return Files.readString(output);
            } finally {
                bash.descendants().forEach(ProcessHandle::destroyForcibly);
                bash.destroyForcibly();
            }
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IllegalStateException(e);
        }
    }
}
