package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.CleanupMode;
import org.junit.jupiter.api.io.TempDir;

/** The page in a real browser: it counts, and shows a replica going down and coming back. */
class PageIT {

    private static final String COUNT = "document.getElementById('count').textContent";
    private static final String TOTAL = "document.getElementById('total').textContent";
    private static final String OTHER = "document.querySelector('[data-key=app-1]').dataset.state";
    private static final String LIVE = "document.getElementById('live').textContent";

    @TempDir(cleanup = CleanupMode.NEVER) // the browser's last writes may come after its end
    private Path folder;

    private final int[] ports = {ServiceProcess.freePort(), ServiceProcess.freePort()};

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
            browser.await("document.getElementById('said').className", "bad");
        }
    }
}
