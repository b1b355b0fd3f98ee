package io.counterset.app;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;

/** A file system of 96 MiB, in memory, which a test can fill. */
final class SmallDisk {

    private SmallDisk() {}

    /** Mounts one at that empty folder, and returns whether this user may. */
    static boolean mount(Path folder) throws Exception {
        return run("mount", "-t", "tmpfs", "-o", "size=96m", "counterset-test", folder.toString());
    }

    static void unmount(Path folder) throws Exception {
        assertThat(run("umount", "--lazy", folder.toString())).isTrue();
    }

    /** Writes that file until there is no room left. */
    static void fill(Path filler) throws IOException {
        byte[] block = new byte[4096];
        try (OutputStream out = Files.newOutputStream(filler)) {
            while (true) {
                out.write(block);
            }
        } catch (IOException full) {
            assertThat(full).hasMessageContaining("No space left");
        }
    }

    /** Runs a command, and returns whether there is such a command and it succeeded. */
    static boolean run(String... command) throws Exception {
        Process process;
        try {
            process = new ProcessBuilder(command)
                    .redirectErrorStream(true)
                    .redirectOutput(ProcessBuilder.Redirect.DISCARD)
                    .start();
        } catch (IOException e) {
            return false;
        }
        assertThat(process.waitFor(30, TimeUnit.SECONDS)).isTrue();
        return process.exitValue() == 0;
    }
}
