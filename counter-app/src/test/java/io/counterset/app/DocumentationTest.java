// SPDX-License-Identifier: Apache-2.0
package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.File;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.concurrent.TimeUnit;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The Java in the documentation compiles as printed, its programs run, links between pages have a
 * target, and tables are well formed.
 */
class DocumentationTest {

    private static final Path ROOT = Path.of("..");
    private static final Pattern BLOCK = Pattern.compile("(?m)^```java\\R(.*?)^```$", Pattern.DOTALL);
    private static final String IMPORTS = """
            import io.counterset.*;
            import io.counterset.k8s.*;
            import io.micronaut.context.annotation.*;
            import io.micronaut.http.annotation.*;
            import jakarta.inject.Singleton;
            import java.nio.file.*;
            import java.time.Duration;
            import java.util.SortedMap;
            import java.util.concurrent.CompletableFuture;
            import java.util.concurrent.CompletionStage;
            """;

    private static final Pattern LINK = Pattern.compile("\\]\\(([^)#\\s]*)(?:#([^)\\s]*))?\\)");
    private static final Pattern CODE = Pattern.compile("(?ms)^```.*?^```$|<!--.*?-->");
    private static final Pattern RULE = Pattern.compile("\\|[ :|-]*-[ :|-]*\\|");
    private static final Pattern HEADING = Pattern.compile("(?m)^#+ +(.+)$");

    record Block(String file, int number, String text) {
        @Override
        public String toString() {
            return file + ", block " + number;
        }
    }

    static Stream<Block> blocks() throws Exception {
        List<Block> blocks = new ArrayList<>();
        for (String file : List.of("README.md", "docs/embedding.md", "docs/peers.md")) {
            var matcher = BLOCK.matcher(Files.readString(ROOT.resolve(file)));
            for (int number = 1; matcher.find(); number++) {
                blocks.add(new Block(file, number, matcher.group(1)));
            }
        }
        assertThat(blocks).extracting(Block::file).contains("README.md", "docs/embedding.md");
        return blocks.stream();
    }

    @ParameterizedTest
    @MethodSource("blocks")
    void compilesAndRunsAsPrinted(Block block, @TempDir Path folder) throws Exception {
        boolean program = block.text.startsWith("try (");
        String source = program
                ? IMPORTS + "class Printed { public static void main(String[] args) throws Exception {\n" + block.text
                        + "}}"
                : IMPORTS + block.text + "class Printed {}";
        Path file = Files.writeString(folder.resolve("Printed.java"), source);
        String classPath = System.getProperty("java.class.path");

        int compiled = ToolProvider.getSystemJavaCompiler()
                .run(null, null, null, "-proc:none", "-cp", classPath, "-d", folder.toString(), file.toString());
        assertThat(compiled).as(source).isZero();

        if (program) {
            Path output = folder.resolve("output.txt");
            Process run = new ProcessBuilder(
                            Path.of(System.getProperty("java.home"), "bin", "java")
                                    .toString(),
                            "-cp",
                            classPath + File.pathSeparator + folder,
                            "Printed")
                    .directory(folder.toFile())
                    .redirectErrorStream(true)
                    .redirectOutput(output.toFile())
                    .start();
            try {
                assertThat(run.waitFor(60, TimeUnit.SECONDS)).isTrue();
                assertThat(run.exitValue()).as(Files.readString(output)).isZero();
            } finally {
                run.destroyForcibly();
            }
        }
    }

    static Stream<Path> pages() throws Exception {
        try (Stream<Path> docs = Files.walk(ROOT.resolve("docs"))) {
            List<Path> pages = docs.filter(page -> page.toString().endsWith(".md"))
                    .collect(Collectors.toCollection(ArrayList::new));
            for (String page : List.of(
                    "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "helm/counter/README.md")) {
                pages.add(ROOT.resolve(page));
            }
            return pages.stream();
        }
    }

    @ParameterizedTest
    @MethodSource("pages")
    void relativeLinksHaveAnExistingFileAndHeading(Path page) throws Exception {
        var links = LINK.matcher(Files.readString(page));
        while (links.find()) {
            if (links.group(1).contains(":")) {
                continue; // an external link
            }
            Path target = links.group(1).isEmpty() ? page : page.resolveSibling(links.group(1));
            assertThat(target).as("a link in %s", page).exists();
            if (links.group(2) != null) {
                assertThat(HEADING.matcher(Files.readString(target)).results().map(heading -> anchor(heading.group(1))))
                        .as("a link in %s to a heading of %s", page, target)
                        .contains(links.group(2));
            }
        }
    }

    /**
     * Returns the anchor that forges derive from a heading: in lower case, with hyphens for spaces
     * and without punctuation.
     */
    private static String anchor(String heading) {
        return heading.strip()
                .toLowerCase(Locale.ROOT)
                .replaceAll("[^\\p{L}\\p{N} _-]", "")
                .replace(' ', '-');
    }

    @ParameterizedTest
    @MethodSource("pages")
    void everyRowOfATableHasTheColumnsOfItsHeader(Path page) throws Exception {
        String text = CODE.matcher(Files.readString(page)).replaceAll("");
        for (String paragraph : text.split("\\R{2,}", -1)) {
            List<String> lines = paragraph.lines().toList();
            int rule = lines.stream()
                    .filter(RULE.asMatchPredicate())
                    .findFirst()
                    .map(lines::indexOf)
                    .orElse(-1);
            if (rule < 0) {
                assertThat(lines).as("%s: rows without a header", page).noneMatch(line -> line.startsWith("|"));
                continue;
            }
            assertThat(lines.subList(rule - 1, lines.size()))
                    .as("%s: one row a line, with a cell for each column", page)
                    .allSatisfy(line -> assertThat(line)
                            .startsWith("|")
                            .endsWith("|")
                            .satisfies(row -> assertThat(columns(row)).isEqualTo(columns(lines.get(rule)))));
        }
    }

    private static int columns(String row) {
        return row.split("(?<!\\\\)\\|", -1).length - 2;
    }
}
