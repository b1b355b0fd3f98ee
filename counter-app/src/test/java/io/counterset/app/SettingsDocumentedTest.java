// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import io.counterset.k8s.Settings;
import io.micronaut.test.extensions.junit5.annotation.MicronautTest;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The code, the tables of the documentation and {@code --help} name the same settings. */
@MicronautTest
class SettingsDocumentedTest extends ServiceTest {

    private static final Pattern ROW = Pattern.compile("(?m)^\\| (`(?:COUNTER_|counter\\.)[^|]*)\\|");
    private static final Pattern NAME = Pattern.compile("`(COUNTER_[A-Z0-9_]+|counter\\.[a-z0-9.-]+)`");
    private static final Pattern HELP = Pattern.compile("(?m)^  (COUNTER_[A-Z0-9_]+) ");

    private Set<String> read() {
        return Stream.concat(
                        service.bean(Settings.class).names().stream(),
                        Stream.of(CounterSettings.LOG_FORMAT.name(), CounterSettings.LOG_LEVEL.name()))
                .map(Settings::variable)
                .filter(variable -> variable.startsWith("COUNTER_"))
                .collect(Collectors.toCollection(TreeSet::new));
    }

    @Test
    void documentedAndReadSettingsAreTheSame() throws Exception {
        Set<String> documented = new TreeSet<>();
        for (String page : List.of("../docs/operations.md", "../docs/peers.md")) {
            ROW.matcher(Files.readString(Path.of(page)))
                    .results()
                    .flatMap(row -> NAME.matcher(row.group(1)).results())
                    .forEach(name -> documented.add(Settings.variable(name.group(1))));
        }
        assertThat(documented).containsExactlyInAnyOrderElementsOf(read());
    }

    @Test
    void helpNamesEverySettingExceptSomeOfPeers() {
        Set<String> helped = HELP.matcher(Application.HELP)
                .results()
                .map(row -> row.group(1))
                .collect(Collectors.toCollection(TreeSet::new));
        assertThat(read()).containsAll(helped);
        assertThat(read().stream().filter(name -> !name.startsWith("COUNTER_PEERS_")))
                .allMatch(helped::contains);
    }
}
