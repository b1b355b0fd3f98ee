// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * Runs the rendered commands of the chart's init containers on a directory in place of the volume.
 */
class InitContainersTest {

    @TempDir
    @SuppressWarnings("NullAway.Init")
    private Path volume;

    private record Result(int status, String output) {}

    /**
     * Runs the init container of a release with these values, on the directory in place of its
     * volume.
     */
    private Result run(String name, String values) throws IOException, InterruptedException {
        Chart.Objects objects = Chart.render("app-python", values.formatted(volume));
        JsonNode container = StreamSupport.stream(
                        objects.pod().path("initContainers").spliterator(), false)
                .filter(c -> c.path("name").asText().equals(name))
                .findFirst()
                .orElseThrow();
        List<String> command = new ArrayList<>();
        container.path("command").forEach(argument -> command.add(argument.asText()));
        ProcessBuilder process = new ProcessBuilder(command)
                .directory(Path.of(container.path("workingDir").asText("/")).toFile())
                .redirectErrorStream(true);
        container
                .path("env")
                .forEach(v -> process.environment()
                        .put(v.path("name").asText(), v.path("value").asText()));
        Process running = process.start();
        String output = new String(running.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertThat(running.waitFor(30, TimeUnit.SECONDS)).isTrue();
        return new Result(running.exitValue(), output);
    }

    private Result importFrom(String file) throws IOException, InterruptedException {
        return run("import-count", "persistence: {mountPath: '%s', importFrom: '" + file + "'}");
    }

    private void write(String file, String text) throws IOException {
        Files.writeString(volume.resolve(file), text);
    }

    private List<String> files() throws IOException {
        try (var files = Files.list(volume)) {
            return files.map(f -> f.getFileName().toString()).sorted().toList();
        }
    }

    @Test
    void importsTheCountOfAnotherFile() throws Exception {
        write("visits.txt", "1234\n");

        assertThat(importFrom("visits.txt")).isEqualTo(new Result(0, "count.txt is now a copy of visits.txt\n"));

        assertThat(volume.resolve("count.txt")).hasContent("1234\n");
        assertThat(files()).as("the old file is kept").containsExactly("count.txt", "visits.txt");
    }

    @Test
    void importsOnlyOnce() throws Exception {
        write("visits", "1");
        importFrom("visits");
        write("visits", "2");

        assertThat(importFrom("visits")).isEqualTo(new Result(0, "count.txt is there already: nothing is imported\n"));

        assertThat(volume.resolve("count.txt")).hasContent("1");
    }

    @Test
    void neverOverridesAJournal() throws Exception {
        write("counters.journal", "a journal");
        write("visits", "2");

        assertThat(importFrom("visits")).isEqualTo(new Result(0, "the journal holds the count: nothing is imported\n"));

        assertThat(files()).containsExactly("counters.journal", "visits");
    }

    @Test
    void aReplicaWithoutTheFileStartsAtZeroAndReportsIt() throws Exception {
        assertThat(importFrom("visits")).isEqualTo(new Result(0, "there is no visits: this replica starts at 0\n"));

        assertThat(files()).isEmpty();
    }

    /** The leftover of an earlier attempt is replaced, since it may be half a file. */
    @Test
    void repeatsAnInterruptedImport() throws Exception {
        write("visits", "1234");
        write("count.txt.new", "12");

        assertThat(importFrom("visits").status).isZero();

        assertThat(volume.resolve("count.txt")).hasContent("1234");
        assertThat(files()).containsExactly("count.txt", "visits");
    }

    @Test
    void importsAFileWhoseNameTheShellCouldMisread() throws Exception {
        write("-n $(touch x) .txt", "7");

        assertThat(importFrom("-n $(touch x) .txt").status).isZero();

        assertThat(volume.resolve("count.txt")).hasContent("7");
        assertThat(files()).containsExactly("-n $(touch x) .txt", "count.txt");
    }

    @Test
    void aFolderInPlaceOfTheFileFailsTheStart() throws Exception {
        Files.createDirectory(volume.resolve("visits"));

        assertThat(importFrom("visits").status).isNotZero();

        assertThat(files())
                .as("there must be no count.txt, or the replica would start at 0")
                .containsExactly("visits");
    }

    @Test
    void makesTheServicesUserOwnEverythingOnTheVolume() throws Exception {
        write("count.txt", "1");
        Files.createDirectory(volume.resolve("folder"));
        write("folder/file", "2");
        assumeTrue(owner(volume).equals("0:0"), "only root may change the owner of files");

        String values = """
                {persistence: {mountPath: '%s'}, volumePermissions: {enabled: true},
                 podSecurityContext: {runAsUser: 12345, runAsGroup: 1000650000}}
                """;
        assertThat(run("volume-permissions", values)).isEqualTo(new Result(0, ""));

        for (Path file : List.of(volume, volume.resolve("count.txt"), volume.resolve("folder/file"))) {
            assertThat(owner(file)).isEqualTo("12345:1000650000");
        }
    }

    private static String owner(Path file) throws IOException {
        return Files.getAttribute(file, "unix:uid") + ":" + Files.getAttribute(file, "unix:gid");
    }
}
