// SPDX-License-Identifier: Apache-2.0
package io.counterset.k8s;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.k8s.PeersReport.Peer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Pattern;

/**
 * The reasons in the tables of docs/peers.md. In these, {@code …} stands for any text, a number for
 * any number, and a unit of time for any unit.
 */
final class DocumentedReasons {

    private static final Path PAGE = Path.of("..", "docs", "peers.md");
    private static final List<Pattern> REASONS = read();

    private DocumentedReasons() {}

    private static List<Pattern> read() {
        try {
            return Files.readAllLines(PAGE).stream()
                    .filter(line -> line.startsWith("| `"))
                    .map(line -> line.substring(0, line.indexOf('|', 2)))
                    .flatMap(cell -> Pattern.compile("`([^`]+)`").matcher(cell).results())
                    .map(reason -> reason.group(1))
                    .filter(reason -> reason.contains(" "))
                    .map(DocumentedReasons::pattern)
                    .toList();
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }

    private static Pattern pattern(String reason) {
        String quoted = reason.replaceAll("[.()?*]", "\\\\$0")
                .replaceAll("[0-9]+ (ms|s|min|h)\\b", "N U")
                .replaceAll("[0-9]+", "N")
                .replace("N U", "[0-9]+ (ms|s|min|h|days?)")
                .replaceAll("\\bN\\b", "[0-9]+")
                .replace("…", ".+");
        return Pattern.compile(quoted + "($|; .*)");
    }

    static void assertDocumented(String reason) {
        assertThat(REASONS)
                .as("the reason in docs/peers.md: %s", reason)
                .anyMatch(pattern -> pattern.matcher(reason).matches());
    }

    /** Checks the reasons of the peers of a report, and returns the report. */
    static PeersReport documented(PeersReport report) {
        for (Peer peer : report.peers()) {
            if (peer.reason() != null) {
                assertDocumented(peer.reason());
            }
        }
        return report;
    }
}
