// The types by which dashboards are checked; schema.js makes JSON Schema of them.
import type { AnnotationQuery, Dashboard, DataQuery } from '@grafana/schema';
import type { Options as BarGaugeOptions } from '@grafana/schema/dist/esm/raw/composable/bargauge/panelcfg/x/BarGaugePanelCfg_types.gen';
import type { Options as StatOptions } from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type { FieldConfig as TableField, Options as TableOptions } from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';
import type { FieldConfig as TimeSeriesField, Options as TimeSeriesOptions } from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';

export interface Board extends Omit<Dashboard, 'annotations'> {
  annotations: { list: AnnotationQuery<Query>[] };
}
export interface BarGauge extends BarGaugeOptions {}
export interface Stat extends StatOptions {}
export interface Table extends TableOptions {}
export interface TableColumn extends TableField {}
export interface TimeSeries extends TimeSeriesOptions {}
export interface TimeSeriesLine extends TimeSeriesField {}

// Grafana's own type of it stands with the data source, which is not published.
export interface Query extends DataQuery {
  expr: string;
  editorMode: 'code';
  range: boolean;
  instant: boolean;
  format?: 'table';
  legendFormat?: string;
}
