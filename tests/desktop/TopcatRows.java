import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.List;
import java.util.Map;
import javax.swing.ListModel;
import javax.swing.SwingUtilities;
import uk.ac.starlink.topcat.ControlWindow;
import uk.ac.starlink.topcat.Driver;
import uk.ac.starlink.topcat.TopcatModel;

/** TOPCAT, whose rows are highlighted as by a click in its table browser, by numbers that come line by line. */
public class TopcatRows {
    private static TopcatModel table;

    public static void main(String[] args) throws Exception {
        Driver.main(args);
        ListModel<TopcatModel> tables = ControlWindow.getInstance().getTablesListModel();
        while (tables.getSize() == 0) Thread.sleep(100);
        table = tables.getElementAt(0);
        SwingUtilities.invokeAndWait(() -> {
            List<Map<String, String>> actions = table.getActivationWindow().getActivationState();
            for (Map<String, String> action : actions) {
                if (action.toString().contains("SendIndex")) action.put("_isActive", "true");
            }
            table.getActivationWindow().setActivationState(actions);
            System.out.println("ready");
        });
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line = lines.readLine(); line != null; line = lines.readLine()) {
            String word = line.trim();
            SwingUtilities.invokeAndWait(() -> {
                if (word.equals("which")) System.out.println("row " + table.getActivatedSubset().getRowIndex());
                else table.highlightRow(Long.parseLong(word));
            });
        }
        System.exit(0);
    }
}
