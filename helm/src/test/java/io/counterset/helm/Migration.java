// SPDX-License-Identifier: Apache-2.0
package io.counterset.helm;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/** The machine-readable part of the guide to migrate from a plain count.txt chart. */
final class Migration {

    private static final Path GUIDE = Path.of("..", "docs", "migrate-from-count-txt.md");

    /** The values in the guide: its only block of YAML. */
    static final String VALUES = values();

    private Migration() {}

    private static String values() {
        try {
            String guide = Files.readString(GUIDE);
            int start = guide.indexOf("```yaml\n");
            int end = guide.indexOf("\n```", start);
            if (start < 0 || end < 0) {
                throw new IllegalStateException(GUIDE + " has no block of YAML");
            }
            return guide.substring(start + "```yaml\n".length(), end);
        } catch (IOException e) {
            throw new UncheckedIOException(e);
        }
    }
}
