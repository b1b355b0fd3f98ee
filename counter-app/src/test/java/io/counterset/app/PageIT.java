// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import io.counterset.CounterStore;
import io.micronaut.json.JsonMapper;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Comparator;
import java.util.Map;
import java.util.Objects;
import java.util.stream.Stream;
import org.awaitility.Awaitility;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.CleanupMode;
import org.junit.jupiter.api.io.TempDir;

/** The page in a real browser counts, and shows a replica that goes down and comes back. */
class PageIT {

    private static final JsonMapper JSON = JsonMapper.createDefault();
    /** Whether to look at every combination of a width, a colour scheme, and scripts or none. */
    private static final boolean ALL = Boolean.getBoolean("counterset.page.all");

    private static final String COUNT = "document.getElementById('count').textContent";
    private static final String TOTAL = "document.getElementById('total').textContent";
    private static final String OTHER = "document.querySelector('[data-name=app-1]').dataset.state";
    /** How many requests of the page to count have ended. */
    private static final String ATTEMPTS =
            "performance.getEntriesByType('resource').filter(e => e.name.endsWith('/count')).length";

    private static final String LIVE = "document.getElementById('live').textContent";

    @TempDir(cleanup = CleanupMode.NEVER) // the browser may write files after its process has ended
    private Path folder;

    private final int[] ports = {ServiceProcess.freePort(), ServiceProcess.freePort(), ServiceProcess.freePort()};

    @BeforeAll
    static void needsABrowser() {
        assumeTrue(Browser.installed().isPresent(), "no Chromium is installed: the page is not tested");
    }

    private ServiceProcess start(int replica) {
        return ServiceProcess.start(
                folder,
                Map.of(
                        "COUNTER_INSTANCE",
                        "app-" + replica,
                        "COUNTER_DIRECTORY",
                        "data-" + replica,
                        "COUNTER_PEERS_TIMEOUT",
                        "10s",
                        "COUNTER_PEERS_DEADLINE",
                        "20s",
                        "MICRONAUT_SERVER_PORT",
                        Integer.toString(ports[replica]),
                        "COUNTER_PEERS_ADDRESSES",
                        "127.0.0.1:" + ports[0] + ",127.0.0.1:" + ports[1]));
    }

    /** Starts a replica of three with the name {@code instance}. */
    private ServiceProcess start(int replica, String instance) {
        return ServiceProcess.start(
                folder,
                Map.of(
                        "COUNTER_INSTANCE",
                        instance,
                        "COUNTER_DIRECTORY",
                        "data-" + replica,
                        "MICRONAUT_SERVER_PORT",
                        Integer.toString(ports[replica]),
                        "COUNTER_PEERS_ADDRESSES",
                        "127.0.0.1:" + ports[0] + ",127.0.0.1:" + ports[1] + ",127.0.0.1:" + ports[2]));
    }

    @Test
    void countsAndFollowsTheReplicas() throws Exception {
        try (ServiceProcess shown = start(0);
                Browser browser = Browser.start(folder)) {
            ServiceProcess other = start(1);
            try {
                other.send("POST", "/count?by=1000");

                browser.open("http://127.0.0.1:" + ports[0] + "/");
                browser.await(COUNT, "1");
                browser.await(TOTAL, "Total 1,001");
                browser.await(OTHER, "live");
                assertThat(browser.evaluate("document.title")).isEqualTo("1 visits · app-0");
                assertThat(browser.evaluate("getComputedStyle(document.querySelector('.wrap')).maxWidth"))
                        .as("the policy allows the style")
                        .isNotEqualTo("none");
                assertThat(shown.count()).as("polling does not count").isEqualTo(1);

                browser.evaluate("document.getElementById('add').click()");
                browser.await(COUNT, "2");
                browser.await("document.getElementById('said').textContent", "app-0 counted it: 2");
                browser.await(TOTAL, "Total 1,002");
                assertThat(shown.count()).isEqualTo(2);

                other.kill();
                browser.await(OTHER, "unreachable");
                browser.await(TOTAL, "At least 1,002");
                browser.await("document.getElementById('answered').textContent", "1 of 2 replicas");
                assertThat(browser.evaluate("document.getElementById('news').textContent"))
                        .isEqualTo("app-1 is unreachable. At least 1,002, 1 of 2 replicas");

                other = start(1);
                browser.await(OTHER, "live");
                browser.await(TOTAL, "Total 1,002");

                browser.evaluate("document.getElementById('live').click()");
                browser.await(LIVE, "Paused");
                shown.send("POST", "/count");
                browser.evaluate("document.getElementById('live').click()");
                browser.await(LIVE, "Live");
                browser.await(COUNT, "3");

                browser.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})"
                        + " && document.dispatchEvent(new Event('visibilitychange'))");
                browser.await(LIVE, "Paused");
                browser.evaluate("Object.defineProperty(document, 'hidden', {value: false, configurable: true})"
                        + " && document.dispatchEvent(new Event('visibilitychange'))");
                browser.await(LIVE, "Live");
            } finally {
                other.close();
            }
            shown.kill();
            browser.await(LIVE, "No answer");
            browser.evaluate("document.getElementById('add').click()");
            browser.await(ATTEMPTS + " > 3", "true"); // one was counted above
            assertThat(browser.evaluate("document.getElementById('add').getAttribute('aria-disabled')"))
                    .as("the page still retries")
                    .isEqualTo("true");
            browser.evaluate("(now => Date.now = () => now() + 15000)(Date.now)"); // as long as it retries
            browser.await("document.getElementById('said').className", "bad");
        }
    }

    /** A JavaScript number would round each of these counts to a multiple of 256. */
    @Test
    void showsEveryDigitOfCountsBeyondTheNumbersOfJavaScript() throws Exception {
        fill("data-0", 2_000_000_000_000_000_122L);
        fill("data-1", 1_000_000_000_000_000_002L);
        try (ServiceProcess shown = start(0);
                ServiceProcess other = start(1);
                Browser browser = Browser.start(folder)) {
            Awaitility.await().until(() -> peers(shown).contains("\"complete\":true"));
            browser.emulate(320, 900, false, true);
            browser.open("http://127.0.0.1:" + ports[0] + "/");
            browser.await(COUNT, "2,000,000,000,000,000,123");
            browser.await(TOTAL, "Total 3,000,000,000,000,000,125");
            assertThat(browser.evaluate("document.title")).isEqualTo("2,000,000,000,000,000,123 visits · app-0");

            browser.evaluate("document.getElementById('add').click()");
            browser.await("document.getElementById('said').textContent", "app-0 counted it: 2,000,000,000,000,000,124");
            shown.send("POST", "/count");
            browser.await(COUNT, "2,000,000,000,000,000,125");
            browser.await(TOTAL, "Total 3,000,000,000,000,000,127");
            assertThat(browser.evaluate("document.documentElement.scrollWidth <= innerWidth"))
                    .as("nothing is wider than a narrow window")
                    .isEqualTo("true");
            assertThat(other.count()).isEqualTo(1_000_000_000_000_000_002L);
        }
    }

    private void fill(String directory, long count) {
        try (CounterStore store = CounterStore.open(folder.resolve(directory))) {
            store.counter("visits").add(count);
        }
    }

    /**
     * One replica answers, one is dead and one has lost its volume. Shown on a phone and a desktop,
     * light and dark, with and without scripts.
     */
    @Test
    void isReadableEverywhere() throws Exception {
        Path pictures = Files.createDirectories(Path.of("target", "screenshots"));
        try (ServiceProcess shown = start(0, "app-python-0");
                Browser browser = Browser.start(folder)) {
            shown.send("POST", "/count?by=1000000");
            try (ServiceProcess dead = start(1, "app-python-1")) {
                dead.send("POST", "/count?by=234567");
                try (ServiceProcess lost = start(2, "app-python-2")) {
                    lost.send("POST", "/count?by=1234");
                    Awaitility.await().until(() -> peers(shown).contains("\"answered\":3"));
                }
                deleteAll(folder.resolve("data-2"));
            }
            try (ServiceProcess replaced = start(2, "app-python-2")) {
                replaced.send("POST", "/count?by=17");
                Awaitility.await()
                        .atMost(Duration.ofSeconds(30))
                        .until(() -> peers(shown).contains("\"replaced\"")
                                && peers(shown).contains("\"unreachable\""));
                boolean scripts =
                        true; // half of the combinations have every pair of a width, a scheme, and scripts or none
                for (int width : new int[] {320, 390, 1280}) {
                    for (boolean dark : new boolean[] {false, true}) {
                        view(browser, width, dark, scripts, pictures);
                        if (ALL) {
                            view(browser, width, dark, !scripts, pictures);
                        }
                        scripts = !scripts;
                    }
                    scripts = !scripts;
                }
            }
        }
    }

    private static String peers(ServiceProcess asked) {
        return asked.send("GET", "/peers", "Accept", "application/json").body();
    }

    private void view(Browser browser, int width, boolean dark, boolean scripts, Path pictures) throws Exception {
        String what = width + (dark ? "-dark" : "-light") + (scripts ? "" : "-plain");
        browser.emulate(width, 900, dark, scripts);
        browser.open("http://127.0.0.1:" + ports[0] + "/");
        browser.await("document.querySelectorAll('.replica').length", "3");
        browser.await("document.readyState", "complete");
        Files.write(pictures.resolve(what + ".png"), browser.screenshot());
        assertThat(browser.evaluate("document.documentElement.scrollWidth <= innerWidth"))
                .as("%s: nothing is wider than the window", what)
                .isEqualTo("true");
        assertThat(browser.evaluate("[...new Set([...document.querySelectorAll('.many')]"
                        + ".map(n => Math.round(n.getBoundingClientRect().right)))].length"))
                .as("%s: the counts are right-aligned", what)
                .isEqualTo("1");
        assertThat(browser.evaluate("document.querySelectorAll('.replica.me').length"))
                .isEqualTo("1");
        assertThat(browser.evaluate("getComputedStyle(document.getElementById('live')).display === 'none'"))
                .as("%s: without scripts nothing claims to be live", what)
                .isEqualTo(Boolean.toString(!scripts));
        if (scripts) {
            browser.evaluate("(0, eval)(" + JSON.writeValueAsString(axe()) + ")");
            assertThat(browser.evaluate("axe.run().then(r => r.violations.map(v => v.id + ': '"
                            + " + v.nodes.map(n => n.html + ' ' + n.failureSummary).join(', ')).join('\\n'))"))
                    .as("%s: accessibility", what)
                    .isEmpty();
        }
    }

    private static String axe() throws IOException {
        try (InputStream script = PageIT.class.getResourceAsStream("/axe.min.js")) {
            return new String(Objects.requireNonNull(script).readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static void deleteAll(Path directory) throws IOException {
        try (Stream<Path> files = Files.walk(directory)) {
            for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
                Files.delete(file);
            }
        }
    }
}
