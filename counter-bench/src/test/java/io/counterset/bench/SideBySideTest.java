// SPDX-License-Identifier: Apache-2.0
package io.counterset.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatIllegalArgumentException;

import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.stream.Stream;
import javax.xml.parsers.DocumentBuilderFactory;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.w3c.dom.NodeList;

/** The runner measures and reports. The runs are too short for meaningful figures. */
class SideBySideTest {

    @TempDir
    Path directory;

    private Settings brief(String... more) {
        Stream<String> common = Stream.of(
                "--directory", directory.toString(), "--seconds", "0.02", "--rounds", "1", "--threads", "1,2");
        return Settings.parse(Stream.concat(common, Stream.of(more)).toArray(String[]::new));
    }

    @Test
    void comparesIncrements() throws Exception {
        Targets targets = new Targets();
        String report = Increments.measure(brief("--entrants", "bare_write,counterset"), targets);
        assertThat(report)
                .contains("| bare write + fdatasync | ")
                .containsPattern("\\| counter-core \\| [0-9,]+ \\(1\\.00\\)");
        assertThat(targets.toString())
                .containsPattern(
                        "durable increment, 1 thread \\| bare write \\+ fdatasync \\| ≥ 1\\.00 × \\| [0-9.]+ ×")
                .contains("durable increment, 64 threads | – | – | – | not measured");
    }

    @Test
    void simulatesASlowerDevice() throws Exception {
        Settings settings = brief("--delay", "5");
        assertThat(settings.entrants())
                .containsExactlyInAnyOrder(Entrant.BARE_WRITE, Entrant.BARE_GROUP_COMMIT, Entrant.COUNTERSET);
        for (Entrant entrant : settings.entrants()) {
            try (Scratch scratch = Scratch.in(directory);
                    Contender contender = entrant.open(scratch.path(), settings.delay())) {
                long began = System.nanoTime();
                contender.increment();
                assertThat(Duration.ofNanos(System.nanoTime() - began)).isGreaterThanOrEqualTo(settings.delay());
            }
        }
        assertThat(Increments.measure(settings, new Targets())).contains("counter, flushes 5.0 ms slower");
    }

    @Test
    void drawsIncrementsAsSvg() throws Exception {
        Path picture = directory.resolve("increments.svg");
        Increments.measure(
                brief("--entrants", "bare_write,counterset", "--picture", picture.toString()), new Targets());
        NodeList bars = DocumentBuilderFactory.newInstance()
                .newDocumentBuilder()
                .parse(picture.toFile())
                .getElementsByTagName("rect");
        assertThat(bars.getLength()).isGreaterThanOrEqualTo(2);
        assertThat(picture).content().contains(">counter-core</text>", "2 callers wait");
    }

    @Test
    void countsAddsInFlight() throws Exception {
        Targets targets = new Targets();
        assertThat(AsyncAdds.measure(brief(), targets)).containsPattern("1 submitting thread \\| [0-9,]+");
        assertThat(targets.toString()).contains("| ≥ 3,000,000 |");
    }

    @Test
    void deletesItsTemporaryDirectories() throws Exception {
        DeviceWrites.measure(brief(), new Targets());
        assertThat(directory).isEmptyDirectory();
    }

    @Test
    void helpPrintsOnlyTheUsage() throws Exception {
        PrintStream console = System.out;
        ByteArrayOutputStream printed = new ByteArrayOutputStream();
        System.setOut(new PrintStream(printed, true, StandardCharsets.UTF_8));
        try {
            SideBySide.main(new String[] {"--help"});
        } finally {
            System.setOut(console);
        }
        assertThat(printed.toString(StandardCharsets.UTF_8)).isEqualTo(Settings.USAGE);
    }

    @Test
    void refusesInvalidOptions() {
        assertThatIllegalArgumentException().isThrownBy(() -> Settings.parse("--rounds", "0"));
        assertThatIllegalArgumentException().isThrownBy(() -> Settings.parse("--entrants", "abacus"));
        assertThatIllegalArgumentException().isThrownBy(() -> Settings.parse("--faster", "1"));
        assertThatIllegalArgumentException().isThrownBy(() -> Settings.parse("--delay", "-1"));
        assertThatIllegalArgumentException().isThrownBy(() -> Settings.parse("--seconds"));
    }
}
